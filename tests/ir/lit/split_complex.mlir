// RUN: %opt %s --passes=decompose,split-complex,canonicalize,cse,dce --verify-each | %filecheck %s

// (a + bi)(c + di): the pairs are taken apart once, and put together for the result alone.
// CHECK-LABEL: func @product
// CHECK-DAG: complex.to_pairs %x
// CHECK-DAG: complex.to_pairs %y
// CHECK-NOT: complex<f32>>
// CHECK-COUNT-4: arith.mul %{{[0-9]+}}, %{{[0-9]+}} : tensor<4x1xf32>
// CHECK-NOT: arith.mul
// CHECK: complex.of_pairs
// CHECK-NEXT: return
func @product(%x: tensor<4xcomplex<f32>>, %y: tensor<4xcomplex<f32>>) -> tensor<4xcomplex<f32>> {
  %0 = arith.mul %x, %y : tensor<4xcomplex<f32>>
  return %0 : tensor<4xcomplex<f32>>
}

// Real numbers are left alone.
// CHECK-LABEL: func @real
// CHECK-NEXT: arith.mul %x, %x
// CHECK-NEXT: return
func @real(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.mul %x, %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
