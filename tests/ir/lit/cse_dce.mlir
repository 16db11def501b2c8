// RUN: %opt %s --passes=cse,dce --verify-each | %filecheck %s

// CHECK-LABEL: func @nan_and_zeros_are_told_apart
// CHECK-NEXT: %[[Z:[0-9]+]] = arith.constant 0.0
// CHECK-NEXT: %[[M:[0-9]+]] = arith.constant -0.0
// CHECK-NEXT: %[[N:[0-9]+]] = arith.constant nan
// CHECK-NEXT: return %[[Z]], %[[M]], %[[N]], %[[N]]
func @nan_and_zeros_are_told_apart() -> (tensor<f32>, tensor<f32>, tensor<f32>, tensor<f32>) {
  %0 = arith.constant 0.0 : tensor<f32>
  %1 = arith.constant -0.0 : tensor<f32>
  %2 = arith.constant nan : tensor<f32>
  %3 = arith.constant nan : tensor<f32>
  return %0, %1, %2, %3 : tensor<f32>, tensor<f32>, tensor<f32>, tensor<f32>
}

// CHECK-LABEL: func @order_matters_where_it_does
// CHECK: arith.sub %x, %y
// CHECK-NEXT: arith.sub %y, %x
// CHECK-NEXT: arith.mul %x, %y
// CHECK-NEXT: return
func @order_matters_where_it_does(%x: tensor<f32>, %y: tensor<f32>) -> (tensor<f32>, tensor<f32>, tensor<f32>, tensor<f32>) {
  %0 = arith.sub %x, %y : tensor<f32>
  %1 = arith.sub %y, %x : tensor<f32>
  %2 = arith.mul %x, %y : tensor<f32>
  %3 = arith.mul %y, %x : tensor<f32>
  return %0, %1, %2, %3 : tensor<f32>, tensor<f32>, tensor<f32>, tensor<f32>
}

// Loads are not pure: memory may change between them. Arithmetic inside of loops is merged and removed as elsewhere.
// CHECK-LABEL: loop.kernel @k
// CHECK: loop.load
// CHECK: loop.load
// CHECK-NEXT: arith.add
// CHECK-NEXT: loop.store
// CHECK-NEXT: }
loop.kernel @k(%x: buffer<f32, [1]>, %n: index) {
  %zero = arith.constant 0 : index
  loop.parallel %i = %zero to %n {
    %0 = loop.load %x, %i : f32
    %1 = loop.load %x, %i : f32
    %2 = arith.add %0, %1 : f32
    %3 = arith.add %1, %0 : f32
    %4 = arith.mul %2, %3 : f32
    loop.store %3, %x, %i
  }
}
