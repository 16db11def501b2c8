// Short strided rows: the window around a vector's elements is loaded and shuffled, and only the rest gathered.
// CHECK: loop.kernel @map_{{.*}}%offsets0: buffer<i32, [1]>
// CHECK: loop.for
// CHECK-COUNT-4: loop.load {{.*}} {lanes = 16} : vector<16xf32>
// CHECK-COUNT-3: loop.shuffle
// CHECK: loop.store
// CHECK: loop.if
// CHECK: loop.gather_load
func @f(%x: tensor<5x16x8x8xf32>) -> tensor<5x16x4x4xf32> {
  %0 = tensor.slice %x {starts = [0, 0, 0, 0], sizes = [5, 16, 4, 4], steps = [1, 1, 2, 2]} : tensor<5x16x4x4xf32>
  %1 = arith.add %0, %0 : tensor<5x16x4x4xf32>
  return %1 : tensor<5x16x4x4xf32>
}
