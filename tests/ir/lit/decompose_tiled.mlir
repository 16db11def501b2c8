// RUN: %opt %s --passes=decompose --verify-each | %filecheck %s --check-prefix=WHOLE
// RUN: %opt %s --passes='decompose{longest=0},dce' --verify-each | %filecheck %s

// Attention is left to schedules that go tile by tile, but for rows that are too long for one; else it is two products around a softmax.
// WHOLE: nn.attention %q, %k, %v
// CHECK-NOT: nn.attention
// CHECK: arith.mul %q
// CHECK: tensor.contract {{.*}} : tensor<2x4x5xf32>
// CHECK: tensor.reduce_max
// CHECK: math.exp {{.*}} : tensor<2x4x5xf32>
// CHECK: tensor.reduce_sum
// CHECK: arith.div {{.*}} : tensor<2x4x5xf32>
// CHECK: tensor.contract {{.*}} : tensor<2x4x3xf32>
func @f(%q: tensor<2x4x3xf32>, %k: tensor<2x5x3xf32>, %v: tensor<2x5x3xf32>) -> tensor<2x4x3xf32> {
  %0 = nn.attention %q, %k, %v {scale = 0.5} : tensor<2x4x3xf32>
  return %0 : tensor<2x4x3xf32>
}
