// A stable merge sort of keys with their positions, row by row.
// CHECK: loop.kernel @sort_
// CHECK: loop.parallel
// CHECK: loop.store {{.*}}, %keys
// CHECK: loop.for {{.*}} to %passes
// CHECK: loop.store {{.*}}, %positions
// CHECK: loop.store {{.*}}, %out
func @f(%x: tensor<10x200xf32>) -> tensor<10x200xi64> {
  %0 = tensor.argsort %x {descending = false} : tensor<10x200xi64>
  return %0 : tensor<10x200xi64>
}
