// Every part is copied to its place.
// CHECK: loop.kernel @map_
// CHECK: loop.store {{.*}}, %out0
func @f(%x: tensor<10x20xf32>, %y: tensor<5x20xf32>) -> tensor<15x20xf32> {
  %0 = tensor.concat %x, %y {dim = 0} : tensor<15x20xf32>
  return %0 : tensor<15x20xf32>
}
