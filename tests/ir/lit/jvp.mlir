// RUN: %opt %s --passes='jvp{func=f inputs=x,w},func(canonicalize,cse,dce)' --verify-each | %filecheck %s
// RUN: %opt %s --passes='jvp{func=loss},differentiate{func=loss inputs=x},canonicalize,cse,dce' --verify-each | %filecheck %s --check-prefix=TWICE
// RUN: not %opt %s --passes='jvp{func=f inputs=x,labels}' 2>&1 | %filecheck %s --check-prefix=NO-INPUT
// RUN: not %opt %s --passes='jvp{func=bits}' 2>&1 | %filecheck %s --check-prefix=NO-RULE

// A product has a term for each side; the bias, whose tangent is not asked for, has no part in it.
// CHECK-LABEL: func @f
// CHECK-SAME: %dx: tensor<2x3xf32>, %dw: tensor<3x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>)
// CHECK: tensor.contract %x, %w
// CHECK: %[[A:[0-9]+]] = tensor.contract %x, %dw {lhs = "mk", rhs = "kn", out = "mn"}
// CHECK: %[[B:[0-9]+]] = tensor.contract %dx, %w {lhs = "mk", rhs = "kn", out = "mn"}
// CHECK: %[[D:[0-9]+]] = arith.add %[[A]], %[[B]]
// CHECK-NEXT: return %{{[0-9]+}}, %[[D]]
func @f(%x: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<4xf32>, %labels: tensor<2xi64>) -> tensor<2x4xf32> {
  %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<2x4xf32>
  %1 = arith.add %0, %b : tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// Reverse over forward: the second derivative of sum(x * x) is 2 times the tangent.
// TWICE-LABEL: func @loss(%x: tensor<4xf32>, %dx: tensor<4xf32>, %d0: tensor<f32>, %d1: tensor<f32>)
// TWICE: arith.mul %{{[0-9]+}}, %dx
// TWICE: return
func @loss(%x: tensor<4xf32>) -> tensor<f32> {
  %0 = arith.mul %x, %x : tensor<4xf32>
  %1 = tensor.reduce_sum %0 {dims = [0]} : tensor<f32>
  return %1 : tensor<f32>
}

func @bits(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = special.standard_gamma_grad %x, %x : tensor<4xf32>   loc("train.py":7)
  return %0 : tensor<4xf32>
}

// NO-INPUT: 'labels' is no floating-point argument of @f; there are %x, %w, %b
// NO-RULE: derivative for special.standard_gamma_grad is not implemented [train.py:7]
