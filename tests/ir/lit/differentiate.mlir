// RUN: %opt %s --passes='differentiate{func=f inputs=x,w},func(canonicalize,cse,dce)' --verify-each | %filecheck %s
// RUN: %opt %s --passes='differentiate{func=loss inputs=0 ones=true},canonicalize,cse,dce' --verify-each | %filecheck %s --check-prefix=ONES
// RUN: not %opt %s --passes='differentiate{func=g}' 2>&1 | %filecheck %s --check-prefix=NO-FUNC
// RUN: not %opt %s --passes='differentiate{func=f inputs=x,labels}' 2>&1 | %filecheck %s --check-prefix=NO-INPUT
// RUN: not %opt %s --passes='differentiate{func=bits}' 2>&1 | %filecheck %s --check-prefix=NO-RULE

// A use in two places gives a sum; the bias, which is not asked for, gets no cotangent.
// CHECK-LABEL: func @f
// CHECK-SAME: %d0: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x3xf32>, tensor<3x4xf32>)
// CHECK: %[[Y:[0-9]+]] = tensor.contract %x, %w
// CHECK: %[[DX:[0-9]+]] = tensor.contract %d0, %w {lhs = "mn", rhs = "kn", out = "mk"}
// CHECK: %[[DW:[0-9]+]] = tensor.contract %x, %d0 {lhs = "mk", rhs = "mn", out = "kn"}
// CHECK-NOT: reduce_sum
// CHECK: return %{{[0-9]+}}, %[[DX]], %[[DW]]
func @f(%x: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<4xf32>, %labels: tensor<2xi64>) -> tensor<2x4xf32> {
  %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<2x4xf32>
  %1 = arith.add %0, %b : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// Another function stays as it is.
// CHECK-LABEL: func @loss
// CHECK-NEXT: arith.mul %x, %x
// CHECK-NEXT: reduce_sum
// CHECK-NEXT: return
// ONES-LABEL: func @loss(%x: tensor<4xf32>) -> (tensor<f32>, tensor<4xf32>)
// ONES: %[[S:[0-9]+]] = tensor.reduce_sum
// ONES: %[[G:[0-9]+]] = arith.add %x, %x
// ONES-NEXT: return %[[S]], %[[G]]
func @loss(%x: tensor<4xf32>) -> tensor<f32> {
  %0 = arith.mul %x, %x : tensor<4xf32>
  %1 = tensor.reduce_sum %0 {dims = [0]} : tensor<f32>
  return %1 : tensor<f32>
}

func @bits(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = special.standard_gamma_grad %x, %x : tensor<4xf32>   loc("train.py":7)
  return %0 : tensor<4xf32>
}

// NO-FUNC: PassError: differentiate{func=g}: there is no function @g
// NO-INPUT: 'labels' is no floating-point argument of @f; there are %x, %w, %b
// NO-RULE: derivative for special.standard_gamma_grad is not implemented [train.py:7]
