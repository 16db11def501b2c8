// RUN: %opt %s --passes=fuse --verify-each | %filecheck %s

// A chain of elementwise operations is one kernel.
// CHECK-LABEL: func @chain
// CHECK: fused.kernel @map0
// CHECK-NOT: fused.kernel
// CHECK: return
func @chain(%x: tensor<4x5xf32>) -> tensor<4x5xf32> {
  %0 = arith.mul %x, %x : tensor<4x5xf32>
  %1 = arith.add %0, %x : tensor<4x5xf32>
  return %1 : tensor<4x5xf32>
}

// A reshape that joins dimensions which lie apart in memory: the kernel computes in the dimensions before it.
// CHECK-LABEL: func @refined
// CHECK: %[[K:[0-9]+]] = fused.kernel @map0({{.*}} : tensor<2x3x5x4xf32> {
// CHECK: fused.yield
// CHECK-NOT: fused.kernel
// CHECK: %[[R:[0-9]+]] = tensor.reshape %[[K]] {shape = [2, 3, 20]} : tensor<2x3x20xf32>
// CHECK-NEXT: return %[[R]]
func @refined(%x: tensor<2x5x3x4xf32>, %bias: tensor<20xf32>) -> tensor<2x3x20xf32> {
  %0 = tensor.permute %x {order = [0, 2, 1, 3]} : tensor<2x3x5x4xf32>
  %1 = tensor.reshape %0 {shape = [2, 3, 20]} : tensor<2x3x20xf32>
  %2 = arith.add %1, %bias : tensor<2x3x20xf32>
  return %2 : tensor<2x3x20xf32>
}

// Shapes without a common refinement: the reshaped value gets a buffer.
// CHECK-LABEL: func @no_refinement
// CHECK: fused.kernel @map0
// CHECK: fused.kernel @map1
// CHECK: return
func @no_refinement(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = tensor.permute %x {order = [1, 0]} : tensor<3x2xf32>
  %1 = tensor.reshape %0 {shape = [2, 3]} : tensor<2x3xf32>
  %2 = arith.add %1, %y : tensor<2x3xf32>
  return %2 : tensor<2x3xf32>
}

// The elementwise reader of a contraction becomes its epilogue.
// CHECK-LABEL: func @epilogue
// CHECK: fused.kernel @contract0
// CHECK: tensor.contract
// CHECK: arith.maximum
// CHECK-NOT: fused.kernel
// CHECK: return
func @epilogue(%x: tensor<4x6xf32>, %w: tensor<6x5xf32>, %b: tensor<5xf32>) -> tensor<4x5xf32> {
  %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<4x5xf32>
  %1 = arith.maximum %0, %b : tensor<4x5xf32>
  return %1 : tensor<4x5xf32>
}
