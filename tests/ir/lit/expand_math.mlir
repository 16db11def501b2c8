// RUN: %opt %s --passes=expand-math --verify-each | %filecheck %s
// RUN: %opt %s --passes=expand-math,expand-math | %filecheck %s

// Only what is no operation of math is left; what is computed with is the vector it was.
// CHECK-LABEL: loop.kernel @sigmoid
// CHECK: loop.load %x, %i {lanes = 4} : vector<4xf32>
// CHECK-NOT: math.
// CHECK: arith.fma %{{[0-9]+}}, %{{[0-9]+}}, %{{[0-9]+}} : vector<4xf32>
// CHECK-NOT: math.
// CHECK: loop.store %{{[0-9]+}}, %x, %i
loop.kernel @sigmoid(%x: buffer<f32, [1]>, %i: index) {
  %0 = loop.load %x, %i {lanes = 4} : vector<4xf32>
  %1 = math.sigmoid %0 : vector<4xf32>
  loop.store %1, %x, %i
}

// Inside of loops too.
// CHECK-LABEL: loop.kernel @within
// CHECK: loop.for
// CHECK-NOT: math.
// CHECK: loop.store
loop.kernel @within(%x: buffer<f64, [1]>, %n: index) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  loop.for %j = %0 to %n step %1 {
    %2 = loop.load %x, %j : f64
    %3 = math.log %2 : f64
    loop.store %3, %x, %j
  }
}

// Functions of tensors stay as they are.
// CHECK-LABEL: func @tensors
// CHECK: math.exp
func @tensors(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = math.exp %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
