// LAPACK's work is a step of the program, and no kernel.
// CHECK-NOT: loop.kernel
func @f(%x: tensor<5x5xf64>) -> tensor<5x5xf64> {
  %0 = linalg.inv %x : tensor<5x5xf64>
  return %0 : tensor<5x5xf64>
}
