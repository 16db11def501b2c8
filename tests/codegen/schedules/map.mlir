// Blocks of one dimension: whole vectors, then a masked one.
// CHECK: loop.kernel @map_{{.*}}(%in0: buffer<f32, [1]>, %in1: buffer<f32, [1]>, %out0: buffer<f32, [1]>, %size0: index)
// CHECK: loop.parallel
// CHECK: loop.for
// CHECK: %[[X:[0-9]+]] = loop.load %in0, {{.*}} {lanes = 16} : vector<16xf32>
// CHECK-NEXT: %[[Y:[0-9]+]] = loop.load %in1, {{.*}} {lanes = 16} : vector<16xf32>
// CHECK-NEXT: %[[P:[0-9]+]] = arith.mul %[[X]], %[[Y]] : vector<16xf32>
// CHECK-NEXT: %[[S:[0-9]+]] = arith.add %[[P]], %[[X]] : vector<16xf32>
// CHECK-NEXT: loop.store %[[S]], %out0
// CHECK: loop.if
// CHECK: loop.masked_store
func @f(%x: tensor<100xf32>, %y: tensor<100xf32>) -> tensor<100xf32> {
  %0 = arith.mul %x, %y : tensor<100xf32>
  %1 = arith.add %0, %x : tensor<100xf32>
  return %1 : tensor<100xf32>
}
