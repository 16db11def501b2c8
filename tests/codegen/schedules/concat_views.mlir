// What lies between a piece and its buffer is no kernel: rolling rows is the same copy twice.
// CHECK: loop.kernel @map_
// CHECK: loop.load %in0
// CHECK: loop.store {{.*}}, %out0
// CHECK-NOT: loop.kernel
func @rolled(%x: tensor<10x20xf32>) -> tensor<10x20xf32> {
  %0 = tensor.slice %x {starts = [0, 17], sizes = [10, 3], steps = [1, 1]} : tensor<10x3xf32>
  %1 = tensor.slice %x {starts = [0, 0], sizes = [10, 17], steps = [1, 1]} : tensor<10x17xf32>
  %2 = tensor.concat %0, %1 {dim = 1} : tensor<10x20xf32>
  return %2 : tensor<10x20xf32>
}
