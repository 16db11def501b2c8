// Byte by byte: keys of the elements' order, how often each byte is there, then keys and positions to their places.
// CHECK: loop.kernel @sort_radix
// CHECK: loop.parallel
// CHECK: arith.bitcast {{.*}} : vector<16xi32>
// CHECK: loop.masked_store
// CHECK: arith.add {{.*}} : i64
// CHECK-COUNT-4: loop.if
// CHECK: loop.for {{.*}} to %kept
func @f(%x: tensor<10x200xf32>) -> tensor<10x200xi64> {
  %0 = tensor.argsort %x {descending = false} : tensor<10x200xi64>
  return %0 : tensor<10x200xi64>
}
