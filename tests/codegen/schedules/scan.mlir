// Sixteen rows together: squares are transposed, a step of the chain is one addition, the map after it takes rows again.
// CHECK: loop.kernel @scan_rows
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: loop.load %in0
// CHECK: loop.shuffle
// CHECK: arith.add
// CHECK: loop.shuffle
// CHECK: arith.neg
// CHECK: loop.store {{.*}}, %out0
func @f(%x: tensor<10x200xf32>) -> tensor<10x200xf32> {
  %0 = tensor.scan_sum %x {dim = 1} : tensor<10x200xf32>
  %1 = arith.neg %0 : tensor<10x200xf32>
  return %1 : tensor<10x200xf32>
}
