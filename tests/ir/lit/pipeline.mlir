// RUN: %opt %s --passes='func(fuse),loop.kernel(expand-math,cse)' --verify-each --statistics 2>&1 | %filecheck %s
// RUN: %opt %s --passes='canonicalize{max-rewrites=1},dce' --print-before=dce --print-after-all 2>&1 | %filecheck %s --check-prefix=ONE
// RUN: not %opt %s --passes='func(cse,loop.kernel(dce))' 2>&1 | %filecheck %s --check-prefix=NESTED
// RUN: not %opt %s --passes='func(cse' 2>&1 | %filecheck %s --check-prefix=OPEN
// RUN: %opt --list-passes | %filecheck %s --check-prefix=LIST

// CHECK-LABEL: func @f
// CHECK-NEXT: %0 = fused.kernel @{{.*}} {schedule = "map"} : tensor<4xf32> {
// CHECK: fused.yield
// CHECK-LABEL: loop.kernel @k
// CHECK-NOT: math.exp
// CHECK: loop.store
// CHECK: 1  kernels formed  (func(fuse))
// CHECK: operations added  (loop.kernel(expand-math))
func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.neg %x : tensor<4xf32>
  %1 = arith.neg %0 : tensor<4xf32>
  %2 = arith.neg %1 : tensor<4xf32>
  %3 = arith.neg %2 : tensor<4xf32>
  %4 = math.exp %3 : tensor<4xf32>
  return %4 : tensor<4xf32>
}

// ONE: // ---- after canonicalize{max-rewrites=1} ----
// ONE-COUNT-2: = arith.neg
// ONE-NOT: = arith.neg
// ONE: // ---- before dce ----
// ONE: // ---- after dce ----
loop.kernel @k(%x: buffer<f32, [1]>, %i: index) {
  %0 = loop.load %x, %i : f32
  %1 = math.exp %0 : f32
  loop.store %1, %x, %i
}

// NESTED: a nested pipeline is for one of func, loop.kernel, loop.function, not within another at 'loop.kernel(dce))'
// OPEN: expected ')' at ''
// LIST: canonicalize{max-rewrites=0} Bring every operation to its simplest form.
// LIST: differentiate{func= inputs= ones=false} Make a function return its vector-Jacobian product too.
// LIST: fuse{single=false} Group the operations of a function into kernels.
