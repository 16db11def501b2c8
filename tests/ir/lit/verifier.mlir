// RUN: not %opt %s 2>&1 | %filecheck %s

// CHECK: VerificationError: %0 = arith.add(%x: tensor<2xf32>, %y: tensor<3xf32>): operands do not fit:
// CHECK-SAME: The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0
// CHECK-SAME: [train.py:12]
func @f(%x: tensor<2xf32>, %y: tensor<3xf32>) -> tensor<2xf32> {
  %0 = arith.add %x, %y : tensor<2xf32>   loc("train.py":12)
  return %0 : tensor<2xf32>
}
