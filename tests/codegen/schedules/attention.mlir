// Keys are packed by squares, a tile of scores and one of sums stays in registers, and nothing is as large as all scores.
// CHECK: loop.function @multiply_tile({{.*}}%factors
// CHECK: loop.for {{.*}} carrying ({{.*}}vector<16xf32>
// CHECK: arith.fma {{.*}} : vector<16xf32>
// CHECK: loop.function @transpose
// CHECK: loop.shuffle
// CHECK: loop.kernel @attention_{{.*}}(%query: buffer<f32, [1, ?, 1]>
// CHECK-SAME: %out: buffer<f32, [1]>, %logsumexp: buffer<f32, [1]>
// CHECK: loop.parallel
// CHECK: loop.call {{.*}} {callee = "transpose"}
// CHECK: loop.call {{.*}} {callee = "multiply"}
// CHECK: math.log
// CHECK: loop.store {{.*}}, %logsumexp
// CHECK: arith.div {{.*}} : vector<16xf32>
// CHECK: loop.store {{.*}}, %out
// One kernel yields the cotangents that are asked for; those of keys and values are sums over turned tiles.
// CHECK: loop.function @multiply_turned
// CHECK: loop.kernel @attention_backward_{{.*}}(%cotangent: buffer<f32, [1, ?, 1]>
// CHECK-SAME: %dquery: buffer<f32, [1]>, %dkey: buffer<f32, [1]>, %dvalue: buffer<f32, [1]>
// CHECK-COUNT-2: loop.call {{.*}} {callee = "multiply_turned"}
// CHECK: loop.store {{.*}}, %dkey
// CHECK-NOT: loop.kernel
func @f(%q: tensor<8x300x64xf32>, %k: tensor<8x300x64xf32>, %v: tensor<8x300x64xf32>, %g: tensor<8x300x64xf32>, %d: tensor<8x300xf32>) -> (tensor<8x300x64xf32>, tensor<8x300x64xf32>, tensor<8x300x64xf32>, tensor<8x300x64xf32>) {
  %0 = nn.attention %q, %k, %v {scale = 0.125, causal = true} : tensor<8x300x64xf32>
  %1 = nn.attention_logsumexp %q, %k {scale = 0.125, causal = true} : tensor<8x300xf32>
  %2 = nn.attention_backward %g, %q, %k, %v, %1, %d {scale = 0.125, causal = true, operand = 0} : tensor<8x300x64xf32>
  %3 = nn.attention_backward %g, %q, %k, %v, %1, %d {scale = 0.125, causal = true, operand = 1} : tensor<8x300x64xf32>
  %4 = nn.attention_backward %g, %q, %k, %v, %1, %d {scale = 0.125, causal = true, operand = 2} : tensor<8x300x64xf32>
  return %0, %2, %3, %4 : tensor<8x300x64xf32>, tensor<8x300x64xf32>, tensor<8x300x64xf32>, tensor<8x300x64xf32>
}
