// An operand read across its memory: squares of vectors, transposed in registers.
// CHECK: loop.kernel @map_{{.*}}(%in0: buffer<f32, [1, ?]>, %out0: buffer<f32, [?, 1]>
// CHECK: loop.local {dtype = f32, size = 256}
// CHECK: loop.parallel
// CHECK-COUNT-16: loop.load {{.*}} {lanes = 16} : vector<16xf32>
// CHECK-COUNT-64: loop.shuffle
// CHECK-COUNT-16: loop.store
// CHECK: loop.strided_load
func @f(%x: tensor<64x80xf32>) -> tensor<80x64xf32> {
  %0 = tensor.permute %x {order = [1, 0]} : tensor<80x64xf32>
  %1 = arith.add %0, %0 : tensor<80x64xf32>
  return %1 : tensor<80x64xf32>
}
