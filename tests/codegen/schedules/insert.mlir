// The tensor is copied, then the slice is written into the copy.
// CHECK: loop.kernel @map_
// CHECK: loop.kernel @map_
// CHECK: loop.store
func @f(%x: tensor<50x30xf32>, %y: tensor<20x30xf32>) -> tensor<50x30xf32> {
  %0 = tensor.insert_slice %x, %y {starts = [1, 0], steps = [2, 1]} : tensor<50x30xf32>
  return %0 : tensor<50x30xf32>
}
