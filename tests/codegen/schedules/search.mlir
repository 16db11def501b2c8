// Halving the sorted row for every value.
// CHECK: loop.kernel @search
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying
// CHECK: arith.compare
// CHECK: loop.store {{.*}}, %out
func @f(%x: tensor<40xf32>, %y: tensor<20x30xf32>) -> tensor<20x30xi64> {
  %0 = tensor.searchsorted %x, %y {right = false} : tensor<20x30xi64>
  return %0 : tensor<20x30xi64>
}
