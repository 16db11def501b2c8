// RUN: %opt %s --generic --locations | %filecheck %s
// RUN: %opt %s --generic --locations | %opt - --locations | %filecheck %s --check-prefix=BACK

// CHECK: "builtin.module"() ({
// CHECK-NEXT: "func.func"() ({
// CHECK-NEXT: ^bb0(%x: tensor<2xf32>):
// CHECK-NEXT: "arith.constant"() {value = 1.0e-05 : f64, type = tensor<f32>} : () -> tensor<f32> loc("train.py":12:1)
// CHECK-NEXT: "arith.add"(%x, %{{[0-9]+}}) : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
// CHECK-NEXT: "func.return"
// CHECK-NEXT: }) {sym_name = "f", function_type = (tensor<2xf32>) -> (tensor<2xf32>)} : () -> ()
func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = arith.constant 1e-05 : tensor<f32>   loc("train.py":12)
  %1 = arith.add %x, %0 : tensor<2xf32>
  return %1 : tensor<2xf32>
}

// BACK: func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
// BACK-NEXT: %0 = arith.constant 1e-05 : tensor<f32>   loc("train.py":12)
// BACK-NEXT: %1 = arith.add %x, %0 : tensor<2xf32>
// BACK-NEXT: return %1 : tensor<2xf32>
