// Along a row in order.
// CHECK: loop.kernel @scan_
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying ({{.*}}f32
// CHECK: arith.add
// CHECK: loop.store {{.*}}, %out
func @f(%x: tensor<10x200xf32>) -> tensor<10x200xf32> {
  %0 = tensor.scan_sum %x {dim = 1} : tensor<10x200xf32>
  return %0 : tensor<10x200xf32>
}
