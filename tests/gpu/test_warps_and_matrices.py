"""Instructions of whole warps: shuffles, votes, matches, reductions, matrices."""

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import MisalignedAccess
from tests.gpu.one_instruction import execute, kernel

RNG = np.random.default_rng(1)
LANE = np.arange(32)
VALUES = RNG.integers(0, 2**32, 64, dtype="u4")


def across_lanes(instruction: str, values: np.ndarray, threads: int = 64) -> np.ndarray:
    """Execute an instruction that takes %a, and gives %d, in every thread."""
    body = f"""
mad.lo.u64 %rd0, %t64, 4, %p1; ld.global.b32 %a, [%rd0];
{instruction}
mad.lo.u64 %rd0, %t64, 4, %p0; st.global.b32 [%rd0], %d;
"""
    text = kernel(body, 2, registers=".reg .b32 %a; .reg .b32 %d;")
    return execute(text, [np.zeros_like(values), values], threads)[0][0]


def partners(mode: str, by: int, width: int) -> np.ndarray:
    """The lane that each lane reads, as the manual's pseudo-code has it; its own if the other is out of the segment."""
    first = LANE // width * width
    wanted = {"up": LANE - by, "down": LANE + by, "bfly": LANE ^ by, "idx": first + by % width}[mode]
    inside = (wanted >= first) if mode == "up" else (wanted < first + width)
    return np.where(inside, wanted, LANE)


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("mode, by", [("up", 3), ("down", 5), ("bfly", 12), ("idx", 6)])
def test_shuffles(mode, by, width):
    clamp = ((32 - width) << 8) | (0 if mode == "up" else 31)
    found = across_lanes(f"shfl.sync.{mode}.b32 %d, %a, {by}, {clamp}, -1;", VALUES)
    np.testing.assert_array_equal(found.reshape(2, 32), VALUES.reshape(2, 32)[:, partners(mode, by, width)])
    valid = across_lanes(f"shfl.sync.{mode}.b32 %r1|%q0, %a, {by}, {clamp}, -1;\nselp.b32 %d, 1, 0, %q0;", VALUES)
    moved = {"up": LANE % width >= by, "down": LANE % width < width - by}.get(mode)
    if moved is not None:
        np.testing.assert_array_equal(valid.reshape(2, 32)[0], moved)


def test_votes_count_the_lanes_of_the_mask():
    odd = "and.b32 %r1, %a, 1; setp.eq.u32 %q0, %r1, 1;"
    bits = (VALUES.reshape(2, 32) & 1).astype(bool)
    masks = [int(np.sum(row.astype("u8") << LANE.astype("u8"))) for row in bits]
    found = across_lanes(f"{odd} vote.sync.ballot.b32 %d, %q0, -1;", VALUES)
    np.testing.assert_array_equal(found, np.repeat(masks, 32))
    for mode, wanted in (("any", [True, True]), ("all", [False, False])):
        found = across_lanes(f"{odd} vote.sync.{mode}.pred %q1, %q0, -1; selp.b32 %d, 1, 0, %q1;", VALUES)
        np.testing.assert_array_equal(found, np.repeat(wanted, 32))
    half = "setp.lt.u32 %q1, %t, 16; selp.b32 %r2, 0x0000FFFF, 0xFFFF0000, %q1;"
    found = across_lanes(f"{odd} {half} vote.sync.ballot.b32 %d, %q0, %r2;", VALUES[:32], 32)
    np.testing.assert_array_equal(found, np.where(LANE < 16, masks[0] & 0xFFFF, masks[0] & 0xFFFF0000))


def test_matches_find_equal_values():
    values = (VALUES % 5).astype("u4")
    rows = values.reshape(2, 32)
    wanted = [int(np.sum((row == value).astype("u8") << LANE.astype("u8"))) for row in rows for value in row]
    np.testing.assert_array_equal(across_lanes("match.any.sync.b32 %d, %a, -1;", values), wanted)
    same = across_lanes("match.all.sync.b32 %d|%q0, %a, -1;", np.repeat(values[:1], 64))
    np.testing.assert_array_equal(same, 0xFFFFFFFF)
    assert not across_lanes("match.all.sync.b32 %d|%q0, %a, -1;", values).any()


@pytest.mark.parametrize(
    "operation, function", [("add", np.add), ("min", np.minimum), ("max", np.maximum), ("xor", np.bitwise_xor)]
)
def test_reductions_over_a_warp(operation, function):
    kind = "b32" if operation == "xor" else "s32"
    found = across_lanes(f"redux.sync.{operation}.{kind} %d, %a, -1;", VALUES).view("i4")
    signed = VALUES.view("i4").reshape(2, 32)
    np.testing.assert_array_equal(found, np.repeat(function.reduce(signed, axis=1).astype("i4"), 32))


def test_partial_warps_take_part_with_the_lanes_they_have():
    found = across_lanes("shfl.sync.down.b32 %d, %a, 4, 0x181F, -1;", VALUES[:8], 8)
    np.testing.assert_array_equal(found[:4], VALUES[4:8])


# Matrices. The positions of elements are written down here from the manual, apart from the emulator's own tables.
def bfloat(values: np.ndarray) -> np.ndarray:
    return (values.astype("f4").view("u4") >> 16).astype("u2")


def small_integers(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that every format holds exactly, and whose sums of products are exact."""
    return RNG.integers(-4, 5, shape).astype("f8")


ENCODE = {
    "f16": lambda values: values.astype("f2").view("u2"),
    "bf16": bfloat,
    "tf32": lambda values: values.astype("f4").view("u4"),
    "f32": lambda values: values.astype("f4").view("u4"),
    "s8": lambda values: values.astype("i1").view("u1"),
    "s32": lambda values: values.astype("i4").view("u4"),
    "f64": lambda values: values.view("u8"),
    "e4m3": lambda values: np.array([E4M3[value] for value in values.reshape(-1)], "u1").reshape(values.shape),
}
E4M3 = {0: 0, 1: 0x38, 2: 0x40, 3: 0x44, 4: 0x48, -1: 0xB8, -2: 0xC0, -3: 0xC4, -4: 0xC8}


def fragment_of_a(matrix: np.ndarray, lane: int, kind: str) -> list[float]:
    group, inner = divmod(lane, 4)
    run = {"f16": 2, "bf16": 2, "s8": 4, "e4m3": 4}.get(kind, 1)
    rows = [group] if len(matrix) == 8 else [group, group + 8]
    return [
        matrix[row, start + inner * run + place]
        for start in range(0, matrix.shape[1], 4 * run)
        for row in rows
        for place in range(run)
    ]


def fragment_of_c(lane: int, rows: int) -> list[tuple[int, int]]:
    group, inner = divmod(lane, 4)
    return [(row, 2 * inner + place) for row in range(group, rows, 8) for place in range(2)]


FORMS = [
    ("m16n8k8", "f16", "f32"),
    ("m16n8k16", "f16", "f32"),
    ("m16n8k16", "f16", "f16"),
    ("m16n8k8", "bf16", "f32"),
    ("m16n8k16", "bf16", "f32"),
    ("m16n8k4", "tf32", "f32"),
    ("m16n8k8", "tf32", "f32"),
    ("m8n8k16", "s8", "s32"),
    ("m16n8k16", "s8", "s32"),
    ("m16n8k32", "s8", "s32"),
    ("m8n8k4", "f64", "f64"),
    ("m16n8k8", "f64", "f64"),
    ("m16n8k32", "e4m3", "f32"),
]


def multiplication(shape: str, kind: str, accumulator: str) -> tuple[str, int, int, int, int]:
    """A kernel in which each lane loads its registers of A, B and C in turn, and stores those of D; sizes of the parts."""
    m, n, k = (int(part) for part in shape.replace("m", "").replace("n", " ").replace("k", " ").split())
    bits = {"f16": 16, "bf16": 16, "s8": 8, "e4m3": 8, "f64": 64}
    wide = 64 if kind == "f64" else 32
    counts = [m * k * bits.get(kind, 32) // wide // 32, n * k * bits.get(kind, 32) // wide // 32]
    counts.append(m * n * bits.get(accumulator, 32) // wide // 32)
    loads, groups, place = [], [], 0
    for letter, count in zip("abc", counts, strict=True):
        names = [f"%{letter}{number}" for number in range(count)]
        groups.append("{" + ", ".join(names) + "}")
        for name in names:
            loads.append(f"ld.global.b{wide} {name}, [%rd0+{place * wide // 8}];")
            place += 1
    results = [f"%d{number}" for number in range(counts[2])]
    stores = [f"st.global.b{wide} [%rd1+{number * wide // 8}], {name};" for number, name in enumerate(results)]
    groups.insert(0, "{" + ", ".join(results) + "}")
    text = f"mma.sync.aligned.{shape}.row.col.{accumulator}.{kind}.{kind}.{accumulator} {', '.join(groups)};"
    addresses = f"mad.lo.u64 %rd0, %t64, {place * wide // 8}, %p1; mad.lo.u64 %rd1, %t64, {counts[2] * wide // 8}, %p0;"
    registers = " ".join(f".reg .b{wide} %{letter}<20>;" for letter in "abcd")
    body = "\n".join([addresses, *loads, text, *stores])
    return kernel(body, 2, registers=registers), m, n, k, place * wide // 8


@pytest.mark.parametrize("shape, kind, accumulator", FORMS)
def test_matrix_multiplication(shape, kind, accumulator):
    text, m, n, k, _ = multiplication(shape, kind, accumulator)
    a, b, c = small_integers((m, k)), small_integers((k, n)), small_integers((m, n))
    registers = [
        b"".join(
            [
                ENCODE[kind](np.array(fragment_of_a(a, lane, kind))).tobytes(),
                ENCODE[kind](np.array(fragment_of_a(b.T, lane, kind))).tobytes(),
                ENCODE[accumulator](np.array([c[place] for place in fragment_of_c(lane, m)])).tobytes(),
            ]
        )
        for lane in range(32)
    ]
    given = np.frombuffer(b"".join(registers), "u1")
    dtype = {"f16": "f2", "f32": "f4", "s32": "i4", "f64": "f8"}[accumulator]
    found = execute(text, [np.zeros(m * n, dtype), given], 32)[0][0].reshape(32, -1).astype("f8")
    wanted = a @ b + c
    np.testing.assert_array_equal(found, [[wanted[place] for place in fragment_of_c(lane, m)] for lane in range(32)])


@pytest.mark.parametrize("transposed", ["", ".trans"])
def test_matrices_are_loaded_and_stored_through_shared_memory(transposed):
    body = f"""
mov.u32 %r0, memory; shl.b32 %r1, %t, 4; add.u32 %r1, %r1, %r0;
mad.lo.u64 %rd0, %t64, 16, %p1; ld.global.v4.b32 {{%r2, %r3, %r4, %r5}}, [%rd0];
st.shared.v4.b32 [%r1], {{%r2, %r3, %r4, %r5}};
bar.sync 0;
ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 {{%r2, %r3, %r4, %r5}}, [%r1];
bar.sync 0;
stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r1], {{%r2, %r3, %r4, %r5}};
bar.sync 0;
ld.shared.v4.b32 {{%r2, %r3, %r4, %r5}}, [%r1];
mad.lo.u64 %rd0, %t64, 16, %p0; st.global.v4.b32 [%rd0], {{%r2, %r3, %r4, %r5}};
"""
    matrices = np.arange(256, dtype="u2").reshape(4, 8, 8)
    found, report = execute(kernel(body, 2, shared=512), [np.zeros_like(matrices).reshape(-1), matrices.reshape(-1)], 32)
    wanted = matrices.swapaxes(1, 2) if transposed else matrices
    np.testing.assert_array_equal(found[0].reshape(4, 8, 8), wanted)
    assert report.bank_conflicts == 0
    with pytest.raises(MisalignedAccess, match="matrix row at 8 is not aligned"):
        moved = body.replace("add.u32 %r1, %r1, %r0;", "add.u32 %r1, %r1, %r0; add.u32 %r6, %r1, 8;")
        execute(kernel(moved.replace("b16 {%r2, %r3, %r4, %r5}, [%r1]", "b16 {%r2, %r3, %r4, %r5}, [%r6]"), 2, shared=528),
                [np.zeros(256, "u2"), matrices.reshape(-1)], 32)  # fmt: skip
