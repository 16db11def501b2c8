// Packed panels, a tile in registers, the epilogue on the tile.
// CHECK: loop.kernel @contract_
// CHECK: loop.parallel
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: loop.broadcast
// CHECK: arith.fma {{.*}} : vector<16xf32>
// CHECK: arith.maximum {{.*}} : vector<16xf32>
// CHECK: loop.store
func @product(%x: tensor<60x50xf32>, %w: tensor<50x70xf32>, %b: tensor<70xf32>) -> tensor<60x70xf32> {
  %0 = tensor.contract %x, %w {lhs = "mk", rhs = "kn", out = "mn"} : tensor<60x70xf32>
  %1 = arith.maximum %0, %b : tensor<60x70xf32>
  return %1 : tensor<60x70xf32>
}
