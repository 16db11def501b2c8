// RUN: %opt %s --passes=decompose,dce --verify-each | %filecheck %s

// CHECK-LABEL: func @innermost_group_first
// CHECK-NEXT: %[[A:[0-9]+]] = tensor.reduce_sum %x {dims = [4]} : tensor<2x3x4x5xf32>
// CHECK-NEXT: %[[B:[0-9]+]] = tensor.reduce_sum %[[A]] {dims = [2]} : tensor<2x3x5xf32>
// CHECK-NEXT: %[[C:[0-9]+]] = tensor.reduce_sum %[[B]] {dims = [0]} : tensor<3x5xf32>
// CHECK-NEXT: return %[[C]]
func @innermost_group_first(%x: tensor<2x3x4x5x6xf32>) -> tensor<3x5xf32> {
  %0 = tensor.reduce_sum %x {dims = [0, 2, 4]} : tensor<3x5xf32>
  return %0 : tensor<3x5xf32>
}

// CHECK-LABEL: func @size_one_separates_nothing
// CHECK-NEXT: %[[A:[0-9]+]] = tensor.reshape %x {shape = [2, 4, 5]} : tensor<2x4x5xf32>
// CHECK-NEXT: %[[B:[0-9]+]] = tensor.reduce_max %[[A]] {dims = [0, 1]} : tensor<5xf32>
// CHECK-NEXT: %[[C:[0-9]+]] = tensor.reshape %[[B]] {shape = [1, 5]} : tensor<1x5xf32>
// CHECK-NEXT: return %[[C]]
func @size_one_separates_nothing(%x: tensor<2x1x4x5x1xf32>) -> tensor<1x5xf32> {
  %0 = tensor.reduce_max %x {dims = [0, 2, 4]} : tensor<1x5xf32>
  return %0 : tensor<1x5xf32>
}

// CHECK-LABEL: func @folding_windows_back
// CHECK-NOT: tensor.fold_windows
// CHECK: tensor.pad
// CHECK: return
func @folding_windows_back(%x: tensor<3x2xf32>) -> tensor<4xf32> {
  %0 = tensor.fold_windows %x {shape = [4], strides = [1], dilations = [1]} : tensor<4xf32>
  return %0 : tensor<4xf32>
}

// CHECK-LABEL: func @sums_of_halves_accumulate_in_float32
// CHECK-NEXT: %0 = arith.cast %x {dtype = f32} : tensor<2x3x4xf32>
// CHECK-NEXT: %1 = tensor.reduce_sum %0 {dims = [2]} : tensor<2x3xf32>
// CHECK-NEXT: %2 = tensor.reduce_sum %1 {dims = [0]} : tensor<3xf32>
// CHECK-NEXT: %3 = arith.cast %2 {dtype = f16} : tensor<3xf16>
func @sums_of_halves_accumulate_in_float32(%x: tensor<2x3x4xf16>) -> tensor<3xf16> {
  %0 = tensor.reduce_sum %x {dims = [0, 2]} : tensor<3xf16>
  return %0 : tensor<3xf16>
}
