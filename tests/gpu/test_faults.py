"""Kernels with one bug each. Every bug is caught, and the kernel without it passes."""

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import (
    DataRace,
    DeviceMemoryError,
    DivergentSynchronisation,
    Emulator,
    EndlessKernel,
    KernelFault,
    LaunchError,
    MisalignedAccess,
    OutOfBoundsAccess,
    OutOfDeviceMemory,
    Trap,
    UninitialisedRead,
)
from tests.gpu.nvptx import compile_ptx
from tests.gpu.one_instruction import execute, kernel

THREADS = 64
ROW = np.arange(THREADS, dtype="u4")


def fault(
    kind: type[KernelFault], text: str, line: str, arrays: list[np.ndarray], threads: int = THREADS, blocks: int = 1
) -> str:
    """The message of the fault that a kernel ends with, which has to name this line of it."""
    with pytest.raises(kind) as caught:
        execute(text, arrays, threads, blocks)
    location = caught.value.location
    assert location.text == line.removesuffix(";")
    assert line in text.splitlines()[location.line - 1]
    return str(caught.value)


EXCHANGE = """
shl.b32 %r0, %t, 2; mov.u32 %r1, memory; add.u32 %r0, %r0, %r1;
st.shared.b32 [%r0], %t;
bar.sync 0;
xor.b32 %r2, %r0, 128;
ld.shared.b32 %r3, [%r2];
bar.sync 0;
st.shared.b32 [%r0], %r3;
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r3;
"""


def test_an_exchange_through_shared_memory_needs_both_barriers():
    found, _ = execute(kernel(EXCHANGE, shared=256), [np.zeros_like(ROW)], THREADS)
    np.testing.assert_array_equal(found[0], ROW ^ 32)
    first = kernel(EXCHANGE.replace("bar.sync 0;", "", 1), shared=256)
    assert "not ordered after thread (32, 0, 0) of block (0, 0, 0) wrote" in fault(
        DataRace, first, "ld.shared.b32 %r3, [%r2];", [ROW]
    )
    second = kernel("bar.sync 0;".join(EXCHANGE.split("bar.sync 0;")[:2]) + EXCHANGE.split("bar.sync 0;")[2], shared=256)
    assert "not ordered after" in fault(DataRace, second, "st.shared.b32 [%r0], %r3;", [ROW])


def test_lanes_of_a_warp_exchange_after_a_warp_barrier_only():
    lanes = EXCHANGE.replace("128", "16").replace("bar.sync 0;", "bar.warp.sync -1;")
    found, _ = execute(kernel(lanes, shared=256), [np.zeros_like(ROW)], THREADS)
    np.testing.assert_array_equal(found[0], ROW ^ 4)
    text = kernel(lanes.replace("bar.warp.sync -1;", ""), shared=256)
    fault(DataRace, text, "ld.shared.b32 %r3, [%r2];", [ROW])
    across = kernel(EXCHANGE.replace("bar.sync 0;", "bar.warp.sync -1;"), shared=256)  # the partner is in the other warp
    fault(DataRace, across, "ld.shared.b32 %r3, [%r2];", [ROW])


def test_bytes_next_to_each_other_do_not_race():
    body = "mov.u32 %r1, memory; add.u32 %r0, %t, %r1; st.shared.b8 [%r0], %t; ld.shared.u8 %r3, [%r0];"
    store = "mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r3;"
    found, _ = execute(kernel(body + store, shared=64), [np.zeros_like(ROW)], THREADS)
    np.testing.assert_array_equal(found[0], ROW)


SAME_PLACE = "st.global.b32 [%p0], {value};"


def test_threads_may_store_one_value_to_one_place_but_not_two():
    found, _ = execute(kernel(SAME_PLACE.format(value=7)), [ROW], THREADS)
    assert found[0][0] == 7
    text = kernel(SAME_PLACE.format(value="%t"))
    assert "different values" in fault(DataRace, text, "st.global.b32 [%p0], %t;", [ROW])


def test_blocks_race_in_global_memory():
    body = "mad.lo.u64 %rd0, %t64, 4, %p0; mov.u32 %r1, %ctaid.x; st.global.b32 [%rd0], %r1;"
    fault(DataRace, kernel(body), "st.global.b32 [%rd0], %r1;", [ROW], blocks=2)
    execute(kernel(body), [ROW], THREADS, blocks=1)
    read = "mad.lo.u64 %rd0, %t64, 4, %p0; ld.global.b32 %r1, [%rd0]; st.global.b32 [%rd0+4], %r1;"
    fault(DataRace, kernel(read), "st.global.b32 [%rd0+4], %r1;", [np.zeros(THREADS + 1, "u4")])


LAST_BLOCK = """
mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd1, %r1, 4; add.u64 %rd0, %p0, %rd1;
st.global.b32 [%rd0], %r1;
membar.gl;
atom.global.add.u32 %r2, [%p1], 1;
setp.ne.u32 %q0, %r2, 3;
@%q0 bra done;
membar.gl;
ld.global.b32 %r3, [%p0];
ld.global.b32 %r4, [%p0+8];
add.u32 %r5, %r3, %r4;
st.global.b32 [%p2], %r5;
done:
"""


def test_the_last_block_sees_what_others_published_with_fences():
    arrays = [np.zeros(4, "u4"), np.zeros(1, "u4"), np.zeros(1, "u4")]
    found, _ = execute(kernel(LAST_BLOCK, 3), arrays, 1, 4)
    assert found[2][0] == 2
    fault(DataRace, kernel(LAST_BLOCK.replace("membar.gl;", ""), 3), "ld.global.b32 %r3, [%p0];", arrays, 1, 4)


def test_fences_order_blocks_that_do_not_execute_at_once():
    body = LAST_BLOCK.replace("%r2, 3;", "%r2, 102399;").replace("[%p1], 1;", "[%p1], 1;")
    arrays = [np.zeros(100, "u4"), np.zeros(1, "u4"), np.zeros(1, "u4")]
    found, _ = execute(kernel(body, 3), arrays, 1024, 100)
    assert found[1][0] == 1024 * 100 and found[2][0] == 2


def test_atomics_do_not_race_with_each_other_but_with_plain_accesses():
    body = "red.global.add.u32 [%p0], 1;"
    found, _ = execute(kernel(body), [np.zeros(1, "u4")], THREADS, 3)
    assert found[0][0] == 3 * THREADS
    fault(DataRace, kernel(body + "\nld.global.b32 %r1, [%p0];"), "ld.global.b32 %r1, [%p0];", [np.zeros(1, "u4")])
    execute(kernel(body + "\nld.volatile.global.b32 %r1, [%p0];"), [np.zeros(1, "u4")], THREADS)


def test_a_wrong_shuffle_distance_gives_a_wrong_sum():
    def total(distances):
        steps = "".join(f"shfl.sync.bfly.b32 %r2, %r1, {by}, 31, -1; add.u32 %r1, %r1, %r2;\n" for by in distances)
        body = f"mov.u32 %r1, %t;\n{steps}\nmad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r1;"
        return execute(kernel(body), [np.zeros(32, "u4")], 32)[0][0]

    assert (total((16, 8, 4, 2, 1)) == 496).all()
    assert (total((16, 8, 4, 2, 2)) != 496).any()


COPY = """
shl.b32 %r0, %t, 4; mov.u32 %r1, memory; add.u32 %r0, %r0, %r1;
mad.lo.u64 %rd0, %t64, 16, %p0;
cp.async.cg.shared.global [%r0], [%rd0], 16;
cp.async.commit_group;
cp.async.wait_group 0;
bar.sync 0;
xor.b32 %r2, %r0, 512;
ld.shared.b32 %r3, [%r2];
mad.lo.u64 %rd1, %t64, 4, %p1; st.global.b32 [%rd1], %r3;
"""


def test_copied_bytes_arrive_with_the_wait_and_the_barrier():
    source = np.arange(4 * THREADS, dtype="u4")
    arrays = [source, np.zeros_like(ROW)]
    found, _ = execute(kernel(COPY, 2, shared=1024), arrays, THREADS)
    np.testing.assert_array_equal(found[1], source[4 * (ROW ^ 32)])
    line = "ld.shared.b32 %r3, [%r2];"
    for wrong in ("", "cp.async.wait_group 1;"):
        text = kernel(COPY.replace("cp.async.wait_group 0;", wrong).replace("bar.sync 0;", "bar.sync 0;"), 2, shared=1024)
        assert "its wait is missing" in fault(UninitialisedRead, text, line, arrays)
    text = kernel(COPY.replace("cp.async.commit_group;", ""), 2, shared=1024)  # the wait is for groups only
    assert "its wait is missing" in fault(UninitialisedRead, text, line, arrays)
    fault(DataRace, kernel(COPY.replace("bar.sync 0;", ""), 2, shared=1024), line, arrays)


def test_a_copy_with_a_count_fills_with_zeros_and_reads_no_further():
    body = COPY.replace("[%rd0], 16;", "[%rd0], 16, %r5;").replace("shl.b32 %r0", "mov.u32 %r5, 4; shl.b32 %r0", 1)
    found, _ = execute(kernel(body.replace("xor.b32 %r2, %r0, 512;", "add.u32 %r2, %r0, 4;"), 2, shared=1024), [ROW, ROW], 1)
    assert found[1][0] == 0


def test_short_buffers_and_foreign_addresses_are_out_of_bounds():
    body = "mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %t;"
    message = fault(OutOfBoundsAccess, kernel(body), "st.global.b32 [%rd0], %t;", [ROW[:-1].copy()])
    assert "(thread (63, 0, 0) of block (0, 0, 0))" in message
    assert "0 bytes past the end of the 252-byte allocation" in message
    fault(OutOfBoundsAccess, kernel("st.global.b32 [64], %t;"), "st.global.b32 [64], %t;", [ROW], 1)
    text = kernel("st.shared.b32 [memory+60], %t;\nst.shared.b32 [memory+64], %t;", shared=64)
    fault(OutOfBoundsAccess, text, "st.shared.b32 [memory+64], %t;", [ROW], 1)


def test_freed_memory_is_out_of_bounds():
    device = Emulator(1 << 16)
    address = device.allocate(64)
    module = device.load(kernel("ld.global.b32 %r1, [%p0];"))
    device.write(address, ROW[:16])
    module.kernel("k").launch((1,), (1,), [address])
    device.free(address)
    with pytest.raises(OutOfBoundsAccess):
        module.kernel("k").launch((1,), (1,), [address])
    for use in (lambda: device.free(address), lambda: device.read(address, 4), lambda: device.write(address, b"1234")):
        with pytest.raises(DeviceMemoryError):
            use()


def test_vectors_have_to_be_aligned():
    body = "add.u64 %rd0, %p0, {offset};\nld.global.v4.b32 {{%r1, %r2, %r3, %r4}}, [%rd0];"
    execute(kernel(body.format(offset=16)), [ROW], 1)
    line = "ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd0];"
    assert "misaligned access of 16 bytes" in fault(MisalignedAccess, kernel(body.format(offset=4)), line, [ROW], 1)


def test_memory_that_nobody_wrote_is_not_read():
    device = Emulator(1 << 16)
    address = device.allocate(64)
    loaded = device.load(kernel("ld.global.b32 %r1, [%p0+8];")).kernel("k")
    device.write(address, b"12345678")
    with pytest.raises(UninitialisedRead, match="global memory that was never written"):
        loaded.launch((1,), (1,), [address])
    device.write(address + 8, b"1234")
    loaded.launch((1,), (1,), [address])
    assert device.is_written(address, 12) and not device.is_written(address, 13)
    text = kernel("st.shared.b16 [memory], %h1;\nld.shared.b32 %r1, [memory];", shared=4)
    fault(UninitialisedRead, text, "ld.shared.b32 %r1, [memory];", [ROW], 1)


def test_a_barrier_that_some_threads_do_not_reach_is_divergent():
    ended = "setp.lt.u32 %q0, %t, 40;\n@%q0 ret;\nbar.sync 0;"
    message = fault(DivergentSynchronisation, kernel(ended), "bar.sync 0;", [ROW])
    assert "24 of 64 threads of the block wait, thread (0, 0, 0) has ended" in message
    two = "setp.lt.u32 %q0, %t, 32;\n@%q0 bra other;\nbar.sync 0;\nbra done;\nother:\nbar.sync 0;\ndone:"
    assert "thread (0, 0, 0) waits in k, PTX line" in fault(DivergentSynchronisation, kernel(two), "bar.sync 0;", [ROW])
    guarded = "setp.lt.u32 %q0, %t, 40;\n@%q0 bar.sync 0;"
    assert "divergent barrier" in fault(DivergentSynchronisation, kernel(guarded), "@%q0 bar.sync 0;", [ROW])


def test_named_barriers_with_counts_let_warps_go_different_ways():
    body = """
mov.u32 %r1, memory;
setp.lt.u32 %q0, %t, 32;
@%q0 bra produce;
bar.sync 1, 64;
ld.shared.b32 %r2, [%r1];
bra done;
produce:
st.shared.b32 [%r1], 5;
bar.arrive 1, 64;
mov.u32 %r2, 0;
done:
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r2;
"""
    found, _ = execute(kernel(body, shared=4), [ROW], THREADS)
    np.testing.assert_array_equal(found[0], np.where(ROW < 32, 0, 5))
    fault(DivergentSynchronisation, kernel(body.replace("1, 64", "1, 96"), shared=4), "bar.sync 1, 96;", [ROW])


@pytest.mark.parametrize(
    "instruction", ["shfl.sync.idx.b32 %r2, %t, 20, 31, -1;", "shfl.sync.idx.b32 %r2, %t, 20, 31, 0x0000FFFF;"]
)
def test_a_shuffle_from_a_lane_that_is_not_there_is_an_error(instruction):
    text = kernel(f"setp.ge.u32 %q0, %t, 16;\n@%q0 ret;\n{instruction}")
    assert "shuffle from lane 20" in fault(DivergentSynchronisation, text, instruction, [ROW], 32)


def test_lanes_wait_for_those_that_the_mask_names():
    body = """
setp.ge.u32 %q0, %t, 16;
@%q0 bra upper;
add.u32 %r1, %t, 100;
bra join;
upper:
add.u32 %r1, %t, 200;
bra.uni join;
join:
shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %r2;
"""
    found, _ = execute(kernel(body), [np.zeros(32, "u4")], 32)
    np.testing.assert_array_equal(found[0], np.where(ROW[:32] < 16, (ROW[:32] ^ 16) + 200, (ROW[:32] ^ 16) + 100))
    never = "setp.ge.u32 %q0, %t, 16;\n@%q0 bar.sync 0;\nshfl.sync.bfly.b32 %r2, %t, 16, 31, -1;"
    with pytest.raises(DivergentSynchronisation):
        execute(kernel(never), [ROW], 32)
    outside = "shfl.sync.bfly.b32 %r2, %t, 1, 31, 0x0000FFFF;"
    assert "its own mask leaves out" in fault(DivergentSynchronisation, kernel(outside), outside, [ROW], 32)


DEBUGGED = """
define ptx_kernel void @k(ptr addrspace(1) %p) !dbg !3 {
%x = load i32, ptr addrspace(1) %p, !dbg !6
%q = getelementptr i32, ptr addrspace(1) %p, i64 64, !dbg !7
store i32 %x, ptr addrspace(1) %q, !dbg !7
ret void, !dbg !7
}
!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!2}
!0 = distinct !DICompileUnit(language: DW_LANG_C, file: !1, runtimeVersion: 0, emissionKind: DebugDirectivesOnly)
!1 = !DIFile(filename: "train.py", directory: "/src")
!2 = !{i32 2, !"Debug Info Version", i32 3}
!3 = distinct !DISubprogram(name: "k", scope: !1, file: !1, line: 1, type: !4, unit: !0, spFlags: DISPFlagDefinition)
!4 = !DISubroutineType(types: !5)
!5 = !{}
!6 = !DILocation(line: 41, column: 3, scope: !3)
!7 = !DILocation(line: 52, column: 3, scope: !3)
"""
COMMENTED = kernel("// train.py:41\nld.global.b32 %r1, [%p0];\n// train.py:52\nst.global.b32 [%p0+256], %r1;")


@pytest.mark.parametrize("text", [COMMENTED, compile_ptx(DEBUGGED)], ids=["comments", "debug locations"])
def test_faults_name_the_line_of_the_user(text):
    device = Emulator(1 << 16)
    loaded = device.load(text).kernel("k")
    address = device.allocate(4)
    with pytest.raises(UninitialisedRead, match=r"\[(/src/)?train.py:41\]"):
        loaded.launch((1,), (1,), [address])
    device.write(address, b"1234")
    with pytest.raises(OutOfBoundsAccess, match=r"\[(/src/)?train.py:52\]"):
        loaded.launch((1,), (1,), [address])


@pytest.mark.parametrize("start", ["", "setp.eq.u32 %q0, %t, 5;\n@%q0 bra done;"])
def test_endless_loops_are_a_fault(start):
    text = kernel(f"{start}\nagain:\nadd.u32 %r1, %r1, 1;\nbra again;\ndone:")
    device = Emulator(1 << 16, most_visits=1000)
    with pytest.raises(EndlessKernel, match="executed 1000 times"):
        device.load(text).kernel("k").launch((1,), (32,), [0])


def test_freed_memory_comes_again_late():
    device = Emulator(64 << 20)
    first = device.allocate(1 << 20)
    device.free(first)
    later = []
    for _ in range(40):
        later.append(device.allocate(1 << 20))
        device.free(later[-1])
    assert first not in later[:10] and first in later


def test_a_trap_is_a_fault():
    fault(Trap, kernel("setp.eq.u32 %q0, %t, 5;\n@%q0 trap;"), "@%q0 trap;", [ROW])


@pytest.mark.parametrize(
    "grid, block, arguments, shared, message",
    [
        ((1,), (65,), [0], 0, "the kernel requires"),
        ((1,), (64,), [], 0, "0 arguments, the kernel takes 1"),
        ((1,), (64,), [np.int32(3)], 0, "4 bytes for k_0, which has 8"),
        ((1,), (64,), [0], 16, "the kernel declares none"),
        ((0,), (64,), [0], 0, "not one to three positive numbers"),
        ((1, 70000), (64,), [0], 0, "too large"),
        ((1,), (64,), b"1234", 0, "4 bytes of arguments, the kernel takes 8"),
    ],
)
def test_launches_that_do_not_fit_the_kernel(grid, block, arguments, shared, message):
    loaded = Emulator(1 << 16).load(kernel("", threads=64)).kernel("k")
    with pytest.raises(LaunchError, match=message):
        loaded.launch(grid, block, arguments, shared)


def test_device_memory_runs_out_and_is_used_again():
    device = Emulator(1 << 16)
    addresses = [device.allocate(1000) for _ in range(51)]
    assert all(address % 256 == 0 for address in addresses)
    with pytest.raises(OutOfDeviceMemory, match="51000 of 65536 bytes are in use"):
        device.allocate(1000)
    device.free(addresses[7])
    assert device.allocate(1000) == addresses[7]


def test_checks_can_be_switched_off_but_bounds_stay():
    device = Emulator(1 << 16, check=False, count=False)
    device.load(kernel("ld.shared.b32 %r1, [memory];", shared=4)).kernel("k").launch((1,), (32,), [0])
    with pytest.raises(OutOfBoundsAccess):
        device.load(kernel("ld.global.b32 %r1, [%p0];")).kernel("k").launch((1,), (1,), [0])
