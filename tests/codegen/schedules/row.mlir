// Softmax: maximum, sum of exponentials, quotient in passes over one row.
// CHECK: loop.kernel @row_
// CHECK: loop.parallel
// CHECK: loop.local {dtype = f32, size = 4160}
// CHECK: arith.maximum
// CHECK: math.exp
// CHECK: arith.div
// CHECK: loop.store
func @softmax(%x: tensor<30x100xf32>) -> tensor<30x100xf32> {
  %0 = nn.softmax %x {dim = 1} : tensor<30x100xf32>
  return %0 : tensor<30x100xf32>
}
