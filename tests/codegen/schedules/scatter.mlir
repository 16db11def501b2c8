// A copy, then rows added at indices, in order: no atomics.
// CHECK: loop.kernel @map_
// CHECK: loop.kernel @scatter_
// CHECK: loop.parallel
// CHECK: loop.for
// CHECK: loop.load %index
// CHECK: loop.fail %status
// CHECK: arith.add {{.*}} : vector<16xf32>
func @rows(%x: tensor<10x20xf32>, %i: tensor<5xi64>, %u: tensor<5x20xf32>) -> tensor<10x20xf32> {
  %0 = tensor.scatter_add %x, %i, %u : tensor<10x20xf32>
  return %0 : tensor<10x20xf32>
}
