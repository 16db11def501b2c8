// A row in 64 lanes, which are folded in halves.
// CHECK: loop.kernel @reduce_single
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>{{.*}}vector<16xf32>{{.*}}vector<16xf32>{{.*}}vector<16xf32>
// CHECK-COUNT-4: loop.load %in0, {{.*}} {lanes = 16} : vector<16xf32>
// CHECK: loop.yield
// CHECK: loop.extract
// CHECK: loop.store {{.*}}, %out, %i
func @rows(%x: tensor<30x100xf32>) -> tensor<30xf32> {
  %0 = tensor.reduce_sum %x {dims = [1]} : tensor<30xf32>
  return %0 : tensor<30xf32>
}
