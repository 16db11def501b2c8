// Every lane keeps its best element and where it was.
// CHECK: loop.kernel @reduce_arg_rows
// CHECK: loop.parallel
// CHECK: loop.for
// CHECK: arith.compare {{.*}} {predicate = "gt"} : vector<16xi1>
// CHECK: arith.select {{.*}} : vector<16xf32>
// CHECK: arith.select {{.*}} : vector<16xi64>
// CHECK: loop.shuffle
// CHECK: loop.store {{.*}}, %out, %i
func @arg(%x: tensor<30x100xf32>) -> tensor<30xi64> {
  %0 = tensor.argmax %x {dim = 1} : tensor<30xi64>
  return %0 : tensor<30xi64>
}
