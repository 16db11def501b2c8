// Rows at indices, which are checked.
// CHECK: loop.kernel @gather_
// CHECK: loop.parallel
// CHECK: loop.load %index
// CHECK: loop.fail %status
// CHECK: loop.load %x, {{.*}} {lanes = 16}
// CHECK: loop.store {{.*}}, %out, %i
func @rows(%x: tensor<10x20xf32>, %i: tensor<5xi64>) -> tensor<5x20xf32> {
  %0 = tensor.gather %x, %i : tensor<5x20xf32>
  return %0 : tensor<5x20xf32>
}
