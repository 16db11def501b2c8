// RUN: %opt %s --passes=canonicalize --verify-each | %filecheck %s

// CHECK-LABEL: func @identities_that_keep_every_bit
// CHECK-NEXT: return %x, %x, %x, %x, %x
func @identities_that_keep_every_bit(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %one = arith.constant 1.0 : tensor<f32>
  %zero = arith.constant 0.0 : tensor<f32>
  %minus_zero = arith.constant -0.0 : tensor<f32>
  %0 = arith.mul %one, %x : tensor<4xf32>
  %1 = arith.div %x, %one : tensor<4xf32>
  %2 = arith.sub %x, %zero : tensor<4xf32>
  %3 = arith.add %x, %minus_zero : tensor<4xf32>
  %4 = arith.neg %x : tensor<4xf32>
  %5 = arith.neg %4 : tensor<4xf32>
  return %0, %1, %2, %3, %5 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// 0.0 + -0.0 is 0.0, and nan * 0.0 is nan: these stay.
// CHECK-LABEL: func @not_identities
// CHECK: arith.add %x, %zero
// CHECK-NEXT: arith.sub %x, %minus_zero
// CHECK-NEXT: arith.mul %x, %zero
func @not_identities(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %zero = arith.constant 0.0 : tensor<f32>
  %minus_zero = arith.constant -0.0 : tensor<f32>
  %0 = arith.add %x, %zero : tensor<4xf32>
  %1 = arith.sub %x, %minus_zero : tensor<4xf32>
  %2 = arith.mul %x, %zero : tensor<4xf32>
  return %0, %1, %2 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// CHECK-LABEL: func @integers
// CHECK-NEXT: %[[ZERO:[0-9]+]] = arith.constant 0 : tensor<4xi64>
// CHECK-NEXT: return %x, %[[ZERO]]
func @integers(%x: tensor<4xi64>) -> (tensor<4xi64>, tensor<4xi64>) {
  %zero = arith.constant 0 : tensor<i64>
  %0 = arith.add %x, %zero : tensor<4xi64>
  %1 = arith.mul %x, %zero : tensor<4xi64>
  return %0, %1 : tensor<4xi64>, tensor<4xi64>
}

// CHECK-LABEL: func @a_broadcast_operand_is_expanded
// CHECK-NEXT: %[[X:[0-9]+]] = tensor.expand %x {shape = [2, 4]} : tensor<2x4xf32>
// CHECK-NEXT: return %[[X]]
func @a_broadcast_operand_is_expanded(%x: tensor<4xf32>) -> tensor<2x4xf32> {
  %0 = arith.constant 1.0 : tensor<2x4xf32>
  %1 = arith.mul %x, %0 : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// CHECK-LABEL: func @constants_fold
// CHECK-NEXT: %[[SUM:[0-9]+]] = arith.constant 0.30000001192092896 : tensor<f32>
// CHECK-NEXT: return %[[SUM]]
func @constants_fold() -> tensor<f32> {
  %0 = arith.constant 0.1 : tensor<f32>
  %1 = arith.constant 0.2 : tensor<f32>
  %2 = arith.add %0, %1 : tensor<f32>
  return %2 : tensor<f32>
}

// The functions of `math` are computed by our own code, whose last bit NumPy may not share; a float divided by 0 is left.
// CHECK-LABEL: func @not_folded
// CHECK: math.exp
// CHECK: arith.div
func @not_folded() -> (tensor<f32>, tensor<f32>) {
  %0 = arith.constant 0.1 : tensor<f32>
  %1 = math.exp %0 : tensor<f32>
  %2 = arith.constant 0.0 : tensor<f32>
  %3 = arith.div %0, %2 : tensor<f32>
  return %1, %3 : tensor<f32>, tensor<f32>
}

// CHECK-LABEL: func @a_splat_operand_shrinks
// CHECK-NEXT: %[[TWO:[0-9]+]] = arith.constant 2.0 : tensor<f32>
// CHECK-NEXT: arith.mul %x, %[[TWO]] : tensor<4xf32>
func @a_splat_operand_shrinks(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.constant 2.0 : tensor<4xf32>
  %1 = arith.mul %x, %0 : tensor<4xf32>
  return %1 : tensor<4xf32>
}

// CHECK-LABEL: func @select
// CHECK-NEXT: return %x, %y, %x
func @select(%c: tensor<4xi1>, %x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %yes = arith.constant true : tensor<i1>
  %no = arith.constant false : tensor<i1>
  %0 = arith.select %yes, %x, %y : tensor<4xf32>
  %1 = arith.select %no, %x, %y : tensor<4xf32>
  %2 = arith.select %c, %x, %x : tensor<4xf32>
  return %0, %1, %2 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// CHECK-LABEL: func @cast
// CHECK-NEXT: %[[HALF:[0-9]+]] = arith.cast %x {dtype = f16} : tensor<4xf16>
// CHECK-NEXT: %[[BACK:[0-9]+]] = arith.cast %[[HALF]] {dtype = f32} : tensor<4xf32>
// CHECK-NEXT: return %x, %x, %[[BACK]]
func @cast(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %0 = arith.cast %x {dtype = f32} : tensor<4xf32>
  %1 = arith.cast %x {dtype = f64} : tensor<4xf64>
  %2 = arith.cast %1 {dtype = f32} : tensor<4xf32>
  %3 = arith.cast %x {dtype = f16} : tensor<4xf16>
  %4 = arith.cast %3 {dtype = f32} : tensor<4xf32>
  return %0, %2, %4 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
