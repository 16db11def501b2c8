// One pass, with what lies outside masked.
// CHECK: loop.kernel @pad_
// CHECK: loop.parallel
// CHECK: loop.masked_load
// CHECK-NEXT: loop.store
func @f(%x: tensor<10x20xf32>) -> tensor<12x23xf32> {
  %0 = tensor.pad %x {low = [1, 1], high = [1, 2], interior = [0, 0], value = 0.0} : tensor<12x23xf32>
  return %0 : tensor<12x23xf32>
}
