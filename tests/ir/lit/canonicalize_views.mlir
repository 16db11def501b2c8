// RUN: %opt %s --passes=canonicalize --verify-each | %filecheck %s

// CHECK-LABEL: func @permute
// CHECK-NEXT: %[[T:[0-9]+]] = tensor.permute %x {order = [2, 0, 1]} : tensor<4x2x3xf32>
// CHECK-NEXT: return %[[T]], %x
func @permute(%x: tensor<2x3x4xf32>) -> (tensor<4x2x3xf32>, tensor<2x3x4xf32>) {
  %0 = tensor.permute %x {order = [1, 2, 0]} : tensor<3x4x2xf32>
  %1 = tensor.permute %0 {order = [1, 2, 0]} : tensor<4x2x3xf32>
  %2 = tensor.permute %1 {order = [1, 2, 0]} : tensor<2x3x4xf32>
  return %1, %2 : tensor<4x2x3xf32>, tensor<2x3x4xf32>
}

// CHECK-LABEL: func @reshape
// CHECK-NEXT: %[[R:[0-9]+]] = tensor.reshape %x {shape = [24]} : tensor<24xf32>
// CHECK-NEXT: return %[[R]], %x
func @reshape(%x: tensor<2x3x4xf32>) -> (tensor<24xf32>, tensor<2x3x4xf32>) {
  %0 = tensor.reshape %x {shape = [6, 4]} : tensor<6x4xf32>
  %1 = tensor.reshape %0 {shape = [24]} : tensor<24xf32>
  %2 = tensor.reshape %1 {shape = [2, 3, 4]} : tensor<2x3x4xf32>
  return %1, %2 : tensor<24xf32>, tensor<2x3x4xf32>
}

// CHECK-LABEL: func @moving_size_one_is_a_reshape
// CHECK-NEXT: tensor.reshape %x {shape = [3, 1, 4]} : tensor<3x1x4xf32>
func @moving_size_one_is_a_reshape(%x: tensor<1x3x4xf32>) -> tensor<3x1x4xf32> {
  %0 = tensor.permute %x {order = [1, 0, 2]} : tensor<3x1x4xf32>
  return %0 : tensor<3x1x4xf32>
}

// CHECK-LABEL: func @expand
// CHECK-NEXT: %[[E:[0-9]+]] = tensor.expand %x {shape = [2, 3, 4]} : tensor<2x3x4xf32>
// CHECK-NEXT: return %[[E]], %x
func @expand(%x: tensor<4xf32>) -> (tensor<2x3x4xf32>, tensor<4xf32>) {
  %0 = tensor.expand %x {shape = [3, 4]} : tensor<3x4xf32>
  %1 = tensor.expand %0 {shape = [2, 3, 4]} : tensor<2x3x4xf32>
  %2 = tensor.expand %x {shape = [4]} : tensor<4xf32>
  return %1, %2 : tensor<2x3x4xf32>, tensor<4xf32>
}

// CHECK-LABEL: func @slice
// CHECK-NEXT: %[[S:[0-9]+]] = tensor.slice %x {starts = [5], sizes = [2], steps = [6]} : tensor<2xf32>
// CHECK-NEXT: return %[[S]], %x
func @slice(%x: tensor<12xf32>) -> (tensor<2xf32>, tensor<12xf32>) {
  %0 = tensor.slice %x {starts = [1], sizes = [6], steps = [2]} : tensor<6xf32>
  %1 = tensor.slice %0 {starts = [2], sizes = [2], steps = [3]} : tensor<2xf32>
  %2 = tensor.slice %x {starts = [0], sizes = [12], steps = [1]} : tensor<12xf32>
  return %1, %2 : tensor<2xf32>, tensor<12xf32>
}

// CHECK-LABEL: func @flip_pad_concat_alias
// CHECK-NEXT: return %x, %x, %x, %x
func @flip_pad_concat_alias(%x: tensor<2x3xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) {
  %0 = tensor.flip %x {dims = [0]} : tensor<2x3xf32>
  %1 = tensor.flip %0 {dims = [0]} : tensor<2x3xf32>
  %2 = tensor.pad %x {low = [0, 0], high = [0, 0], interior = [0, 0], value = 0.0} : tensor<2x3xf32>
  %3 = tensor.concat %x {dim = 0} : tensor<2x3xf32>
  %4 = tensor.alias %x : tensor<2x3xf32>
  %5 = tensor.detach %4 : tensor<2x3xf32>
  return %1, %2, %3, %5 : tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
}

// CHECK-LABEL: func @a_view_of_a_constant
// CHECK-NEXT: %[[C:[0-9]+]] = arith.constant 3.0 : tensor<2x3xf32>
// CHECK-NEXT: return %[[C]]
func @a_view_of_a_constant() -> tensor<2x3xf32> {
  %0 = arith.constant 3.0 : tensor<3xf32>
  %1 = tensor.expand %0 {shape = [2, 3]} : tensor<2x3xf32>
  return %1 : tensor<2x3xf32>
}

// CHECK-LABEL: func @sum_of_pieces
// CHECK-NEXT: %[[Z:[0-9]+]] = arith.constant 0.0 : tensor<f32>
// CHECK-NEXT: %[[Y:[0-9]+]] = arith.add %y, %[[Z]] : tensor<2x3xf32>
// CHECK-NEXT: %[[X:[0-9]+]] = arith.add %x, %[[Z]] : tensor<2x1xf32>
// CHECK-NEXT: %[[C:[0-9]+]] = tensor.concat %[[Y]], %[[X]] {dim = 1} : tensor<2x4xf32>
// CHECK-NEXT: %[[P:[0-9]+]] = tensor.pad %[[C]] {low = [0, 0], high = [0, 1], interior = [0, 0], value = 0.0} : tensor<2x5xf32>
// CHECK-NEXT: %[[B:[0-9]+]] = arith.add %base, %[[P]] : tensor<2x5xf32>
// CHECK-NEXT: return %[[B]]
func @sum_of_pieces(%x: tensor<2x1xf32>, %y: tensor<2x3xf32>, %base: tensor<2x5xf32>) -> tensor<2x5xf32> {
  %0 = tensor.pad %x {low = [0, 3], high = [0, 1], interior = [0, 0], value = 0.0} : tensor<2x5xf32>
  %1 = tensor.pad %y {low = [0, 0], high = [0, 2], interior = [0, 0], value = 0.0} : tensor<2x5xf32>
  %2 = arith.add %base, %0 : tensor<2x5xf32>
  %3 = arith.add %1, %2 : tensor<2x5xf32>
  return %3 : tensor<2x5xf32>
}

// Pieces that overlap, or leave something out between them, stay a sum.
// CHECK-LABEL: func @sum_of_other_pieces
// CHECK-COUNT-2: arith.add
// CHECK-NOT: tensor.concat
func @sum_of_other_pieces(%x: tensor<2xf32>, %y: tensor<2xf32>) -> (tensor<5xf32>, tensor<5xf32>) {
  %0 = tensor.pad %x {low = [0], high = [3], interior = [0], value = 0.0} : tensor<5xf32>
  %1 = tensor.pad %y {low = [1], high = [2], interior = [0], value = 0.0} : tensor<5xf32>
  %2 = tensor.pad %y {low = [3], high = [0], interior = [0], value = 0.0} : tensor<5xf32>
  %3 = arith.add %0, %1 : tensor<5xf32>
  %4 = arith.add %0, %2 : tensor<5xf32>
  return %3, %4 : tensor<5xf32>, tensor<5xf32>
}
