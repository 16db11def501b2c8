"""Control flow, state spaces, calls, atomics and counters, on kernels compiled by LLVM and written by hand."""

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import Emulator, LaunchReport, PtxError
from tests.gpu.nvptx import INTRINSICS, compile_ptx
from tests.gpu.one_instruction import execute, kernel

THREADS = 96


def compiled(body: str, before: str = "", parameters: str = "ptr addrspace(1) %out, ptr addrspace(1) %in") -> str:
    """PTX of a kernel in LLVM IR, in which %t is the thread's number in the grid."""
    index = """
%tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
%block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
%size = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
%first = mul i32 %block, %size
%t = add i32 %first, %tid
%p = getelementptr i32, ptr addrspace(1) %in, i32 %t
%q = getelementptr i32, ptr addrspace(1) %out, i32 %t
%x = load i32, ptr addrspace(1) %p
"""
    return compile_ptx(f"{INTRINSICS}{before}\ndefine ptx_kernel void @k({parameters}) {{\nentry:{index}{body}\n}}")


def test_loops_and_branches_of_threads_that_part():
    """Steps of the Collatz sequence: every thread leaves the loop, and takes its branches, at its own time."""
    text = compiled("""
br label %head
head:
%n = phi i32 [%x, %entry], [%next, %join]
%steps = phi i32 [0, %entry], [%more, %join]
%end = icmp ule i32 %n, 1
br i1 %end, label %done, label %body
body:
%bit = and i32 %n, 1
%odd = icmp ne i32 %bit, 0
br i1 %odd, label %up, label %down
up:
%three = mul i32 %n, 3
%u = add i32 %three, 1
store volatile i32 %u, ptr addrspace(1) %q
br label %join
down:
%d = lshr i32 %n, 1
store volatile i32 %d, ptr addrspace(1) %q
br label %join
join:
%next = phi i32 [%u, %up], [%d, %down]
%more = add i32 %steps, 1
br label %head
done:
store i32 %steps, ptr addrspace(1) %q
ret void""")

    def steps(number: int) -> int:
        return 0 if number <= 1 else 1 + steps(3 * number + 1 if number % 2 else number // 2)

    numbers = np.arange(2 * THREADS, dtype="u4")
    found, report = execute(text, [np.zeros_like(numbers), numbers], THREADS, 2)
    np.testing.assert_array_equal(found[0], [steps(int(number)) for number in numbers])
    assert report.threads == 2 * THREADS and report.blocks == 2
    assert report.thread_instructions < 32 * report.warp_instructions  # of threads that parted, only some execute


def test_a_switch_is_an_indirect_branch():
    cases = "\n".join(f"case{n}:\n%r{n} = {operation}\nbr label %join" for n, operation in enumerate(OPERATIONS))
    table = " ".join(f"i32 {n}, label %case{n}" for n in range(len(OPERATIONS)))
    merged = ", ".join(f"[%r{n}, %case{n}]" for n in range(len(OPERATIONS)))
    text = compiled(f"""
%which = urem i32 %t, 9
switch i32 %which, label %other [{table}]
{cases}
other:
br label %join
join:
%result = phi i32 [0, %other], {merged}
store i32 %result, ptr addrspace(1) %q
ret void""")
    assert "brx.idx" in text
    numbers = np.arange(THREADS, dtype="u4") + 1000
    found, _ = execute(text, [np.zeros_like(numbers), numbers], THREADS)
    wanted = [EXPECTED[n % 9](x) if n % 9 < 6 else 0 for n, x in enumerate(numbers.tolist())]
    np.testing.assert_array_equal(found[0], wanted)


OPERATIONS = ["add i32 %x, 7", "mul i32 %x, %x", "udiv i32 %x, 3", "xor i32 %x, 99", "shl i32 %x, 3", "urem i32 %x, 17"]
EXPECTED = [lambda x: x + 7, lambda x: x * x, lambda x: x // 3, lambda x: x ^ 99, lambda x: x << 3, lambda x: x % 17]


def test_calls_of_functions_of_the_module():
    before = """
define internal {i32, i64} @twice(i32 %a, i64 %b) noinline {
%c = icmp ult i32 %a, 10
br i1 %c, label %small, label %large
small:
ret {i32, i64} {i32 1, i64 2}
large:
%s = call i32 @inner(i32 %a)
%r = insertvalue {i32, i64} undef, i32 %s, 0
%w = add i64 %b, 1
%v = insertvalue {i32, i64} %r, i64 %w, 1
ret {i32, i64} %v
}
define internal i32 @inner(i32 %a) noinline {
%r = mul i32 %a, 3
ret i32 %r
}"""
    text = compiled("""
%wide = zext i32 %x to i64
%one = call {i32, i64} @twice(i32 %x, i64 %wide)
%a = extractvalue {i32, i64} %one, 0
%b = extractvalue {i32, i64} %one, 1
%two = call i32 @inner(i32 %a)
%low = trunc i64 %b to i32
%sum = add i32 %two, %low
store i32 %sum, ptr addrspace(1) %q
ret void""", before)  # fmt: skip
    assert text.count("call.uni") == 3
    numbers = np.arange(THREADS, dtype="u4")
    found, _ = execute(text, [np.zeros_like(numbers), numbers], THREADS)
    np.testing.assert_array_equal(found[0], np.where(numbers < 10, 5, 9 * numbers + numbers + 1))


def test_recursion_is_refused():
    with pytest.raises(PtxError, match="recursive"):
        Emulator(1 << 16).load(kernel("call f, ();") + "\n.func f() { call f, (); ret; }")


def test_local_constant_and_generic_memory():
    before = "@table = internal addrspace(4) constant [4 x i32] [i32 5, i32 6, i32 7, i32 -8]\n"
    text = compiled("""
%slots = alloca [8 x i32]
br label %loop
loop:
%i = phi i32 [0, %entry], [%j, %loop]
%a = getelementptr i32, ptr %slots, i32 %i
%v = mul i32 %i, %x
store volatile i32 %v, ptr %a
%j = add i32 %i, 1
%again = icmp ult i32 %j, 8
br i1 %again, label %loop, label %done
done:
%k = and i32 %t, 7
%b = getelementptr i32, ptr %slots, i32 %k
%w = load volatile i32, ptr %b
%m = and i32 %t, 3
%c = getelementptr i32, ptr addrspace(4) @table, i32 %m
%y = load i32, ptr addrspace(4) %c
%s = add i32 %w, %y
%g = addrspacecast ptr addrspace(1) %q to ptr
store i32 %s, ptr %g
ret void""", before)  # fmt: skip
    numbers = np.arange(THREADS, dtype="u4") + 3
    index = np.arange(THREADS)
    found, _ = execute(text, [np.zeros_like(numbers), numbers], THREADS)
    np.testing.assert_array_equal(found[0].view("i4"), (index % 8) * numbers.view("i4") + np.array([5, 6, 7, -8])[index % 4])


def test_local_memory_of_odd_sizes_and_initial_values_of_variables():
    body = """
cvt.u64.u32 %rd1, %t; st.local.b64 [space], %rd1; ld.local.b64 %rd2, [space]; cvt.u32.u64 %r1, %rd2;
ld.const.b32 %r2, [table+4]; add.u32 %r1, %r1, %r2;
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r1;
"""
    text = kernel(body, registers=".local .align 8 .b8 space[12];")
    text = text.replace(".visible .entry", ".const .align 4 .f32 table[2] = {0f3F800000, 0f00000100};\n.visible .entry")
    found, _ = execute(text, [np.zeros(40, "u4")], 40)
    np.testing.assert_array_equal(found[0], np.arange(40) + 256)


def test_dynamic_shared_memory_follows_the_static():
    before = """
@fixed = internal addrspace(3) global [5 x i32] undef, align 4
@rest = external addrspace(3) global [0 x i8], align 16
"""
    text = compiled("""
%a = getelementptr i32, ptr addrspace(3) @rest, i32 %tid
store volatile i32 %x, ptr addrspace(3) %a
store volatile i32 7, ptr addrspace(3) @fixed
%y = load volatile i32, ptr addrspace(3) %a
store i32 %y, ptr addrspace(1) %q
ret void""", before)  # fmt: skip
    device = Emulator(1 << 16)
    loaded = device.load(text).kernel("k")
    assert loaded.shared_bytes == 32
    numbers = np.arange(64, dtype="u4")
    source, target = device.allocate(256), device.allocate(256)
    device.write(source, numbers)
    loaded.launch((2,), (32,), [target, source], shared_bytes=128)
    np.testing.assert_array_equal(device.read(target, 256).view("u4"), numbers)


def test_variables_of_the_module_live_as_long_as_it():
    text = kernel("ld.global.b32 %r1, [counter]; add.u32 %r1, %r1, 1; st.global.b32 [counter], %r1;")
    text = text.replace(".visible .entry", ".global .align 4 .u32 counter = 41;\n.visible .entry")
    device = Emulator(1 << 16)
    module = device.load(text)
    for _ in range(2):
        module.kernel("k").launch((1,), (1,), [0])
    assert device.read(module.symbols["counter"], 4).view("u4")[0] == 43
    module.unload()
    assert device.memory.allocated_bytes == 0


@pytest.mark.parametrize(
    "instruction, dtype, function",
    [
        ("add.u32", "u4", lambda old, x: old + x),
        ("min.s32", "i4", min),
        ("max.u64", "u8", max),
        ("and.b32", "u4", lambda old, x: old & x),
        ("exch.b32", "u4", lambda old, x: x),
        ("inc.u32", "u4", lambda old, x: 0 if old >= x else old + 1),
        ("dec.u32", "u4", lambda old, x: x if old == 0 or old > x else old - 1),
        ("add.f32", "f4", lambda old, x: old + x),
        ("add.noftz.f16", "f2", lambda old, x: old + x),
    ],
)
def test_atomics_give_the_old_value_and_go_in_turn(instruction, dtype, function):
    """Four places, sixteen threads for each; the emulator takes them in the order of their numbers."""
    rng = np.random.default_rng(3)
    values = rng.integers(1, 9, 64).astype(dtype)
    size = values.itemsize
    register = f".b{8 * size}"
    body = f"""
and.b32 %r1, %t, 3; mul.wide.u32 %rd1, %r1, {size}; add.u64 %rd1, %rd1, %p0;
mad.lo.u64 %rd2, %t64, {size}, %p2; ld.global{register} %a, [%rd2];
atom.global.{instruction} %d, [%rd1], %a;
mad.lo.u64 %rd3, %t64, {size}, %p1; st.global{register} [%rd3], %d;
"""
    text = kernel(body, 3, registers=f".reg {register} %a; .reg {register} %d;")
    memory = np.full(4, 5, dtype)
    found, _ = execute(text, [memory, np.zeros_like(values), values], 64)
    old = []
    for thread, value in enumerate(values):
        old.append(memory[thread % 4])
        memory[thread % 4] = function(memory[thread % 4], value)
    np.testing.assert_array_equal(found[1], old)
    np.testing.assert_array_equal(found[0], memory)
    start = np.full(4, 5, dtype)
    without = text.replace("atom.global", "red.global").replace("%d, [%rd1]", "[%rd1]").replace("st.global", "//")
    if "exch" not in instruction:
        np.testing.assert_array_equal(
            execute(without, [start, np.zeros_like(values), values], 64)[0][0], memory
        )  # the result is not used


@pytest.mark.parametrize("space, wanted", [("global", [2.0**-126, 0.0]), ("shared", [1.5 * 2.0**-126, 2.0**-127])])
def test_atomic_sums_of_float32_flush_subnormals_in_global_memory(space, wanted):
    place = "%p0" if space == "global" else "memory"
    body = f"""
ld.global.b32 %r1, [%p0]; ld.global.b32 %r2, [%p0+4]; ld.global.b32 %r3, [%p0+8]; bar.sync 0;
st.{space}.b32 [{place}], %r1; st.{space}.b32 [{place}+4], %r2;
red.{space}.add.f32 [{place}], %r3; red.{space}.add.f32 [{place}+4], %r3;
ld.{space}.b32 %r1, [{place}]; ld.{space}.b32 %r2, [{place}+4];
st.global.b32 [%p0], %r1; st.global.b32 [%p0+4], %r2;
"""
    values = np.array([2.0**-126, 0.0, 2.0**-127], "f4")
    found, _ = execute(kernel(body, shared=8), [values], 1)
    assert found[0][:2].tolist() == wanted


def test_compare_and_swap_loops():
    """LLVM makes a loop of compare-and-swap of an atomic maximum of floats."""
    text = compiled("""
%value = bitcast i32 %x to float
%old = atomicrmw fmax ptr addrspace(1) %out, float %value syncscope("device") monotonic
ret void""")
    assert ".cas." in text
    values = np.random.default_rng(4).standard_normal(THREADS).astype("f4")
    found, _ = execute(text, [np.full(1, -9, "f4"), values.view("u4")], THREADS)
    assert found[0][0] == values.max()


def test_barrier_reductions_count_over_the_block():
    body = """
setp.lt.u32 %q0, %t, 40;
bar.red.popc.u32 %r1, 0, %q0;
bar.red.and.pred %q1, 0, %q0;
selp.b32 %r2, 1000, 0, %q1;
add.u32 %r1, %r1, %r2;
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r1;
"""
    for threads, wanted in ((64, 40), (32, 1032)):
        found, _ = execute(kernel(body), [np.zeros(threads, "u4")], threads)
        np.testing.assert_array_equal(found[0], wanted)


def test_special_registers_of_a_grid_of_three_dimensions():
    names = ("%tid.x", "%tid.y", "%tid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z", "%laneid", "%warpid", "%lanemask_lt")
    stores = "\n".join(f"mov.u32 %r1, {name}; st.global.b32 [%rd0+{4 * n}], %r1;" for n, name in enumerate(names))
    body = f"""
mov.u32 %r2, %ntid.x; mov.u32 %r3, %ntid.y; mov.u32 %r4, %tid.y; mov.u32 %r5, %tid.z;
mad.lo.u32 %r6, %r5, %r3, %r4; mad.lo.u32 %r6, %r6, %r2, %t;
mov.u32 %r7, %nctaid.x; mov.u32 %r8, %nctaid.y; mov.u32 %r9, %ctaid.y; mov.u32 %r10, %ctaid.z; mov.u32 %r11, %ctaid.x;
mad.lo.u32 %r12, %r10, %r8, %r9; mad.lo.u32 %r12, %r12, %r7, %r11;
mad.lo.u32 %r6, %r12, 30, %r6;
mul.wide.u32 %rd0, %r6, {4 * len(names)}; add.u64 %rd0, %rd0, %p0;
{stores}
"""
    device = Emulator(1 << 20)
    loaded = device.load(kernel(body)).kernel("k")
    total = 2 * 3 * 4 * 30
    address = device.allocate(total * len(names) * 4)
    loaded.launch((2, 3, 4), (5, 3, 2), [address])
    found = device.read(address, total * len(names) * 4).view("u4").reshape(4, 3, 2, 2, 3, 5, len(names))
    blocks_z, blocks_y, blocks_x, z, y, x = np.indices(found.shape[:-1])
    thread = z * 15 + y * 5 + x
    wanted = (x, y, z, blocks_x, blocks_y, blocks_z, thread % 32, thread // 32, (1 << thread % 32) - 1)
    np.testing.assert_array_equal(found, np.stack(wanted, axis=-1))


def strided_copy(stride: int, vector: int = 1) -> LaunchReport:
    """Threads copy `vector` words each, `stride` words apart."""
    names = ", ".join(f"%r{number}" for number in range(vector))
    kind, group = (f"v{vector}.b32", f"{{{names}}}") if vector > 1 else ("b32", names)
    body = f"""
mad.lo.u64 %rd0, %t64, {4 * stride}, %p0; mad.lo.u64 %rd1, %t64, {4 * stride}, %p1;
ld.global.{kind} {group}, [%rd1];
st.global.{kind} [%rd0], {group};
"""
    return execute(kernel(body, 2), [np.zeros(64 * stride, "u4")] * 2, 64)[1]


def test_sectors_of_coalesced_and_strided_accesses():
    assert strided_copy(1).used_bytes_per_sector == 32
    assert strided_copy(4, vector=4).used_bytes_per_sector == 32
    assert strided_copy(2).used_bytes_per_sector == 16
    apart = strided_copy(8)
    assert apart.used_bytes_per_sector == 4
    assert (apart.load_sectors, apart.load_requests, apart.load_used_bytes) == (64, 2, 256)
    assert sorted(apart.unused_bytes_by_line.values()) == [64 * 28, 64 * 28]


def shared_store(stride: int, vector: int = 1) -> LaunchReport:
    group = "{%t, %t, %t, %t}" if vector == 4 else "%t"
    kind = "v4.b32" if vector == 4 else "b32"
    body = f"mov.u32 %r1, memory; mad.lo.u32 %r0, %t, {4 * stride}, %r1; st.shared.{kind} [%r0], {group};"
    return execute(kernel(body, shared=32 * 4 * 33 + 16), [np.zeros(1, "u4")], 32)[1]


@pytest.mark.parametrize(
    "stride, vector, waves, ideal", [(1, 1, 1, 1), (2, 1, 2, 1), (32, 1, 32, 1), (33, 1, 1, 1), (4, 4, 4, 4), (8, 4, 8, 4)]
)
def test_bank_conflicts(stride, vector, waves, ideal):
    report = shared_store(stride, vector)
    assert (report.shared_waves, report.shared_ideal_waves) == (waves, ideal)
    assert report.bank_conflicts == waves - ideal == sum(report.bank_conflicts_by_line.values())


def test_lanes_that_read_one_word_share_a_wave():
    body = "mov.u32 %r1, memory; st.shared.b32 [%r1], 1; bar.sync 0; ld.shared.b32 %r2, [%r1];"
    report = execute(kernel(body, shared=4), [np.zeros(1, "u4")], 32)[1]
    assert report.bank_conflicts == 0 and report.shared_requests == 2 and report.barriers == 1


def test_instructions_are_counted():
    body = "add.u32 %r1, %t, 1; add.u32 %r2, %r1, 1; setp.lt.u32 %q0, %t, 1; @%q0 ret; mul.lo.u32 %r3, %r1, %r1;"
    report = execute(kernel(body), [np.zeros(1, "u4")], 64)[1]
    assert report.instructions_by_opcode["add"] == 128
    assert report.instructions_by_opcode["mul"] == 63
    assert report.warp_instructions * 32 >= report.thread_instructions


def test_grids_larger_than_what_executes_at_once():
    body = """
mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 1024, %t;
mul.wide.u32 %rd0, %r2, 4; add.u64 %rd0, %rd0, %p0; st.global.b32 [%rd0], %r2;
"""
    found, _ = execute(kernel(body), [np.zeros(1024 * 100, "u4")], 1024, 100)
    np.testing.assert_array_equal(found[0], np.arange(1024 * 100))


def test_two_runs_of_a_module_are_the_same_and_share_the_decoding():
    text = kernel("mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %t;")
    one, other = Emulator(1 << 16), Emulator(1 << 16)
    assert one.load(text).kernel("k").program is other.load(text).kernel("k").program
