// Vectors along the kept dimension; runs of runs along the reduced one.
// CHECK: loop.kernel @reduce_columns
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: loop.masked_load %in0
// CHECK-NEXT: arith.maximum
// CHECK: loop.masked_store {{.*}} %out
func @columns(%x: tensor<30x100xf32>) -> tensor<100xf32> {
  %0 = tensor.reduce_max %x {dims = [0]} : tensor<100xf32>
  return %0 : tensor<100xf32>
}
