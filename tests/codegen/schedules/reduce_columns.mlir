// Strips of columns whose totals lie in memory; several rows at a time, in runs of 64 and runs of runs.
// CHECK: loop.kernel @reduce_columns
// CHECK-COUNT-3: loop.local {dtype = f32, size = 1024}
// CHECK: loop.parallel
// CHECK: loop.for
// CHECK: loop.for
// CHECK: loop.for
// CHECK: [[T:%[0-9]+]] = loop.load {{.*}} : vector<16xf32>
// CHECK-NEXT: [[X:%[0-9]+]] = loop.load %in0
// CHECK-NEXT: [[U:%[0-9]+]] = arith.maximum [[T]], [[X]]
// CHECK: loop.load %in0
// CHECK-NEXT: arith.maximum [[U]]
// CHECK: loop.store {{.*}}, %out
func @columns(%x: tensor<30x100xf32>) -> tensor<100xf32> {
  %0 = tensor.reduce_max %x {dims = [0]} : tensor<100xf32>
  return %0 : tensor<100xf32>
}
