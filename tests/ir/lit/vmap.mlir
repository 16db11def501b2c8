// RUN: %opt %s --passes='vmap{func=f size=8 inputs=x}' --verify-each | %filecheck %s
// RUN: %opt %s --passes='vmap{func=f size=8},canonicalize,dce' --verify-each | %filecheck %s --check-prefix=ALL
// RUN: %opt %s --passes='differentiate{func=loss inputs=w ones=true},vmap{func=loss size=8 inputs=x},canonicalize,cse,dce' --verify-each | %filecheck %s --check-prefix=PER-SAMPLE
// RUN: not %opt %s --passes='vmap{func=f inputs=z}' 2>&1 | %filecheck %s --check-prefix=NO-INPUT
// RUN: not %opt %s --passes='vmap{func=fused}' 2>&1 | %filecheck %s --check-prefix=BODY

// What is the same for all examples stays without the batch, and what only depends on it too.
// CHECK-LABEL: func @f(%x: tensor<8x3xf32>, %w: tensor<3x4xf32>, %i: tensor<2xi64>) -> (tensor<8x4xf32>, tensor<8x2xf32>, tensor<8x3x4xf32>)
// CHECK: %[[W:[0-9]+]] = math.exp %w : tensor<3x4xf32>
// CHECK: tensor.contract %x, %[[W]] {lhs = "Ak", rhs = "kn", out = "An"} : tensor<8x4xf32>
// CHECK: %[[J:[0-9]+]] = tensor.expand %i {shape = [8, 2]}
// CHECK: %[[X:[0-9]+]] = tensor.reshape %x {shape = [24]} : tensor<24xf32>
// CHECK: tensor.gather %[[X]], %{{[0-9]+}} {bounds = [[0, 3]]} : tensor<8x2xf32>
// CHECK: tensor.expand %[[W]] {shape = [8, 3, 4]}
// ALL-LABEL: func @f(%x: tensor<8x3xf32>, %w: tensor<8x3x4xf32>, %i: tensor<8x2xi64>)
// ALL: tensor.contract %x, %{{[0-9]+}} {lhs = "Ak", rhs = "Akn", out = "An"} : tensor<8x4xf32>
func @f(%x: tensor<3xf32>, %w: tensor<3x4xf32>, %i: tensor<2xi64>) -> (tensor<4xf32>, tensor<2xf32>, tensor<3x4xf32>) {
  %0 = math.exp %w : tensor<3x4xf32>
  %1 = tensor.contract %x, %0 {lhs = "k", rhs = "kn", out = "n"} : tensor<4xf32>
  %2 = tensor.gather %x, %i : tensor<2xf32>
  return %1, %2, %0 : tensor<4xf32>, tensor<2xf32>, tensor<3x4xf32>
}

// The gradient of every example by itself.
// PER-SAMPLE-LABEL: func @loss(%x: tensor<8x3xf32>, %w: tensor<3x4xf32>) -> (tensor<8xf32>, tensor<8x3x4xf32>)
// PER-SAMPLE: tensor.contract %x, %w {lhs = "Ak", rhs = "kn", out = "An"}
// PER-SAMPLE: tensor.contract %x, %{{[0-9]+}} {lhs = "Ak", rhs = "{{A?}}n", out = "Akn"} : tensor<8x3x4xf32>
func @loss(%x: tensor<3xf32>, %w: tensor<3x4xf32>) -> tensor<f32> {
  %0 = tensor.contract %x, %w {lhs = "k", rhs = "kn", out = "n"} : tensor<4xf32>
  %1 = nn.relu %0 : tensor<4xf32>
  %2 = tensor.reduce_sum %1 {dims = [0]} : tensor<f32>
  return %2 : tensor<f32>
}

func @fused(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = fused.kernel @k(%1 = %x) {schedule = "map"} : tensor<3xf32> {
    %2 = math.exp %1 : tensor<3xf32>
    fused.yield %2
  }
  return %0 : tensor<3xf32>
}

// NO-INPUT: 'z' is no tensor argument of @f; there are %x, %w, %i
// BODY: fused.kernel has a body; vectorise before fusing
