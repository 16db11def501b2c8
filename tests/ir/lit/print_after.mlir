// RUN: %opt %s --passes=cse,dce --print-after=cse --timing 2>&1 | %filecheck %s

// CHECK: // ---- after cse ----
// CHECK-NEXT: func @f
// CHECK-NEXT: arith.neg
// CHECK-NEXT: return
// CHECK-NOT: after dce
// CHECK: ms {{.*}} cse
// CHECK-NEXT: ms {{.*}} dce
// CHECK-NEXT: ms 100.0 % total
func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = arith.neg %x : tensor<2xf32>
  %1 = arith.neg %x : tensor<2xf32>
  return %x : tensor<2xf32>
}
