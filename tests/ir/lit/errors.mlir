// RUN: not %opt %s --passes=cse 2>&1 | %filecheck %s

// CHECK: errors.mlir:8:25: error: %y is used before it is defined
// CHECK-NEXT: %0 = arith.add %x, %y : tensor<2xf32>
// CHECK-NEXT: {{^ +\^}}

func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
     %0 = arith.add %x, %y : tensor<2xf32>
  return %0 : tensor<2xf32>
}
