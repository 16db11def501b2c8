"""What single instructions compute, judged by NumPy, by Python's integers, and by exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import Emulator, PtxError
from tests.gpu.exact import expected, round_exactly
from tests.gpu.one_instruction import HEADER, kernel, run

RNG = np.random.default_rng(0)
COUNT = 160


def integers(dtype: str, count: int = COUNT) -> np.ndarray:
    limits = np.iinfo(dtype)
    values = RNG.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True)
    values[:4] = [limits.min, limits.max, 0, 1]
    values[4:20] = RNG.integers(0, 64, 16)
    return RNG.permutation(values)


def floats(dtype: str, count: int = COUNT, spread: int = 6) -> np.ndarray:
    values = RNG.standard_normal(count) * 2.0 ** RNG.integers(-spread, spread, count)
    values[:4] = [0.0, 1.0, -1.0, 0.5]
    return RNG.permutation(values.astype(dtype))


def bfloats(count: int = COUNT) -> np.ndarray:
    return (floats("f4", count).view("u4") >> 16).astype("u2")


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype("u4") << 16).view("f4")


def python(function, dtype: str):
    """A function of Python integers, wrapped to a NumPy type."""
    bits = np.dtype(dtype).itemsize * 8

    def on_arrays(*arrays: np.ndarray) -> np.ndarray:
        values = [function(*(int(value) for value in row)) & ((1 << bits) - 1) for row in zip(*arrays, strict=True)]
        return np.array(values, f"u{bits // 8}").view(dtype)

    return on_arrays


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def field(value: int, position: int, length: int, bits: int, signed: bool) -> int:
    position, length = position & 255, length & 255
    pattern = value & ((1 << bits) - 1)
    top = min(position + length, bits) - 1
    sign = (pattern >> top) & 1 if signed and length else 0
    kept = sum(((pattern >> (position + n)) & 1 if position + n < bits else sign) << n for n in range(min(length, bits)))
    return kept | (sign * ((1 << bits) - (1 << min(length, bits))))


def byte_permutation(a: int, b: int, selector: int) -> int:
    source = (b << 32 | a).to_bytes(8, "little")
    result = 0
    for place in range(4):
        choice = selector >> 4 * place & 15
        byte = source[choice & 7]
        result |= ((255 if byte & 128 else 0) if choice & 8 else byte) << 8 * place
    return result


def funnel(low: int, high: int, amount: int) -> int:
    return (high << 32 | low) << (amount & 31) >> 32


INTEGER_CASES = [
    ("add.s32 %d, %a, %b;", "i4", ("i4", "i4"), lambda a, b: a + b),
    ("add.sat.s32 %d, %a, %b;", "i4", ("i4", "i4"), lambda a, b: max(-(2**31), min(2**31 - 1, a + b))),
    ("sub.u64 %d, %a, %b;", "u8", ("u8", "u8"), lambda a, b: a - b),
    ("add.u16 %d, %a, 7;", "u2", ("u2",), lambda a: a + 7),
    ("mul.lo.s64 %d, %a, %b;", "i8", ("i8", "i8"), lambda a, b: a * b),
    ("mul.hi.s64 %d, %a, %b;", "i8", ("i8", "i8"), lambda a, b: a * b >> 64),
    ("mul.hi.u64 %d, %a, %b;", "u8", ("u8", "u8"), lambda a, b: a * b >> 64),
    ("mul.hi.s32 %d, %a, %b;", "i4", ("i4", "i4"), lambda a, b: a * b >> 32),
    ("mul.wide.s32 %d, %a, %b;", "i8", ("i4", "i4"), lambda a, b: a * b),
    ("mul.wide.u16 %d, %a, %b;", "u4", ("u2", "u2"), lambda a, b: a * b),
    ("mad.lo.u32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), lambda a, b, c: a * b + c),
    ("mad.wide.s32 %d, %a, %b, %c;", "i8", ("i4", "i4", "i8"), lambda a, b, c: a * b + c),
    ("mad.hi.u32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), lambda a, b, c: (a * b >> 32) + c),
    ("mul24.lo.u32 %d, %a, %b;", "u4", ("u4", "u4"), lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF)),
    ("div.s32 %d, %a, %b;", "i4", ("i4", "i4"), lambda a, b: truncated(a, b) if b else -1),
    ("div.u64 %d, %a, %b;", "u8", ("u8", "u8"), lambda a, b: a // b if b else -1),
    ("rem.s64 %d, %a, %b;", "i8", ("i8", "i8"), lambda a, b: a - truncated(a, b) * b if b else a),
    ("min.s32 %d, %a, %b;", "i4", ("i4", "i4"), min),
    ("max.u64 %d, %a, %b;", "u8", ("u8", "u8"), max),
    ("abs.s32 %d, %a;", "i4", ("i4",), abs),
    ("neg.s64 %d, %a;", "i8", ("i8",), lambda a: -a),
    ("sad.s32 %d, %a, %b, %c;", "i4", ("i4", "i4", "i4"), lambda a, b, c: c + abs(a - b)),
    ("and.b32 %d, %a, %b;", "u4", ("u4", "u4"), lambda a, b: a & b),
    ("xor.b64 %d, %a, -1;", "u8", ("u8",), lambda a: ~a),
    ("not.b16 %d, %a;", "u2", ("u2",), lambda a: ~a),
    ("cnot.b32 %d, %a;", "u4", ("u4",), lambda a: a == 0),
    ("lop3.b32 %d, %a, %b, %c, 0xE8;", "u4", ("u4", "u4", "u4"), lambda a, b, c: a & b | a & c | b & c),
    ("shl.b32 %d, %a, %b;", "u4", ("u4", "u4"), lambda a, b: a << b if b < 32 else 0),
    ("shr.u64 %d, %a, %b;", "u8", ("u8", "u4"), lambda a, b: a >> b if b < 64 else 0),
    ("shr.s32 %d, %a, %b;", "i4", ("i4", "u4"), lambda a, b: a >> min(b, 31)),
    ("shf.l.wrap.b32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), funnel),
    ("shf.r.clamp.b32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), lambda a, b, c: (b << 32 | a) >> min(c, 32)),
    ("popc.b64 %d, %a;", "u4", ("u8",), int.bit_count),
    ("clz.b32 %d, %a;", "u4", ("u4",), lambda a: 32 - a.bit_length()),
    ("clz.b64 %d, %a;", "u4", ("u8",), lambda a: 64 - a.bit_length()),
    ("bfind.u32 %d, %a;", "u4", ("u4",), lambda a: a.bit_length() - 1),
    (
        "bfind.shiftamt.s32 %d, %a;",
        "u4",
        ("i4",),
        lambda a: 32 - (a if a >= 0 else ~a).bit_length() if a not in (0, -1) else -1,
    ),
    ("brev.b32 %d, %a;", "u4", ("u4",), lambda a: int(f"{a:032b}"[::-1], 2)),
    ("bfe.u32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), lambda a, b, c: field(a, b, c, 32, False)),
    ("bfe.s64 %d, %a, %b, %c;", "i8", ("i8", "u4", "u4"), lambda a, b, c: field(a, b, c, 64, True)),
    ("bmsk.clamp.b32 %d, %a, %b;", "u4", ("u4", "u4"), lambda a, b: ((1 << min(b, 32)) - 1) << min(a, 32)),
    ("szext.clamp.s32 %d, %a, %b;", "i4", ("i4", "u4"), lambda a, b: field(a, 0, min(b, 32), 32, True)),
    ("prmt.b32 %d, %a, %b, %c;", "u4", ("u4", "u4", "u4"), byte_permutation),
    ("slct.b32.s32 %d, %a, %b, %c;", "u4", ("u4", "u4", "i4"), lambda a, b, c: a if c >= 0 else b),
    ("cvt.s32.s8 %d, %a;", "i4", ("i2",), lambda a: ((a & 255) ^ 128) - 128),
    ("cvt.u64.u32 %d, %a;", "u8", ("u4",), lambda a: a),
    ("cvt.sat.u8.s32 %d, %a;", "u2", ("i4",), lambda a: max(0, min(255, a))),
    ("cvt.sat.s16.s64 %d, %a;", "i2", ("i8",), lambda a: max(-(2**15), min(2**15 - 1, a))),
    ("setp.lt.s64 %d, %a, %b;", "?", ("i8", "i8"), lambda a, b: a < b),
    ("setp.hs.u32 %d, %a, %b;", "?", ("u4", "u4"), lambda a, b: a >= b),
    ("mov.b64 {%r1, %r2}, %a;\nmov.b64 %d, {%r2, %r1};", "u8", ("u8",), lambda a: a >> 32 | (a & (2**32 - 1)) << 32),
    ("add.cc.u32 %r1, %a, %b;\naddc.u32 %d, %c, 0;", "u4", ("u4",) * 3, lambda a, b, c: c + (a + b >> 32)),
    ("sub.cc.u32 %r1, %a, %b;\nsubc.u32 %d, %c, 0;", "u4", ("u4",) * 3, lambda a, b, c: c - (a < b)),
]


@pytest.mark.parametrize("text, result, operands, function", INTEGER_CASES, ids=[case[0] for case in INTEGER_CASES])
def test_integer_instructions(text, result, operands, function):
    arrays = [integers(dtype) for dtype in operands]
    if any(word in text for word in ("shl", "shr", "bfe", "bmsk", "szext")):
        arrays[1:] = [array % np.array(70, array.dtype) if array.dtype.kind == "u" else array for array in arrays[1:]]
    found = run(text, result, *arrays)
    wanted = python(function, "u1" if result == "?" else result)(*arrays)
    np.testing.assert_array_equal(found, wanted.astype(result) if result == "?" else wanted)


ROUNDED = {
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul": (2, lambda a, b: a * b),
    "div": (2, lambda a, b: a / b),
    "fma": (3, lambda a, b, c: a * b + c),
    "rcp": (1, lambda a: 1 / a),
}


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("opcode", ROUNDED)
def test_float32_arithmetic_rounds_once_in_every_direction(opcode, mode):
    arity, function = ROUNDED[opcode]
    operands = [floats("f4", spread=14) for _ in range(arity)]
    if opcode in ("div", "rcp"):
        operands[-1][operands[-1] == 0] = 3
    if opcode == "fma":  # sums that nearly cancel, and those with a far smaller part
        operands[2][::3] = -(operands[0] * operands[1])[::3]
        operands[2][1::3] *= np.float32(2.0**-24)
    found = run(f"{opcode}.{mode}.f32 %d, {', '.join('%' + name for name in 'abc'[:arity])};", "f4", *operands)
    np.testing.assert_array_equal(found.astype(np.float64), expected(function, "f32", mode, *operands))


def test_float32_fma_is_exact_next_to_ties_and_among_subnormals():
    tie = np.array([1 + 2.0**-12, 1 - 2.0**-12, 1 + 2.0**-12, 2.0**-75, 2.0**-75, 3 * 2.0**-76], "f4")
    other = np.array([1 + 2.0**-12, 1 - 2.0**-12, 1 + 2.0**-12, 2.0**-74, 2.0**-75, 2.0**-74], "f4")
    small = np.array([2.0**-60, -(2.0**-60), -(2.0**-80), 2.0**-149, 2.0**-148, 2.0**-149], "f4")
    operands = [np.tile(value, 8) for value in (tie, other, small)]
    found = run("fma.rn.f32 %d, %a, %b, %c;", "f4", *operands)
    np.testing.assert_array_equal(found.astype(np.float64), expected(ROUNDED["fma"][1], "f32", "rn", *operands))


@pytest.mark.parametrize("opcode, mode", [("add", "rz"), ("mul", "rp"), ("div", "rm"), ("fma", "rn")])
def test_float64_arithmetic_rounds_once(opcode, mode):
    arity, function = ROUNDED[opcode]
    operands = [floats("f8", spread=20) for _ in range(arity)]
    operands[-1][operands[-1] == 0] = 3
    if opcode == "fma":
        operands[2][::2] = -(operands[0] * operands[1])[::2]
        operands[0][5], operands[1][5], operands[2][5] = 2.0**600, 2.0**500, -(2.0**1000)  # overflow
        operands[0][7], operands[1][7], operands[2][7] = 2.0**-600, 2.0**-470, 2.0**-1074
    found = run(f"{opcode}.{mode}.f64 %d, {', '.join('%' + name for name in 'abc'[:arity])};", "f8", *operands)
    np.testing.assert_array_equal(found, expected(function, "f64", mode, *operands))


@pytest.mark.parametrize("opcode", ["add", "sub", "mul", "fma"])
def test_half_and_bfloat_arithmetic_rounds_once(opcode):
    arity, function = ROUNDED[opcode]
    names = ", ".join("%" + name for name in "abc"[:arity])
    halves = [floats("f2", spread=10) for _ in range(arity)]
    found = run(f"{opcode}.rn.f16 %d, {names};", "f2", *halves)
    np.testing.assert_array_equal(found.astype(np.float64), expected(function, "f16", "rn", *halves))
    shorts = [bfloats() for _ in range(arity)]
    found = run(f"{opcode}.rn.bf16 %d, {names};", "u2", *shorts)
    wanted = expected(function, "bf16", "rn", *(widened(bits) for bits in shorts))
    np.testing.assert_array_equal(widened(found).astype(np.float64), wanted)
    pairs = [np.stack([bits, bits[::-1]], axis=1).view("u4").reshape(-1) for bits in shorts]
    both = run(f"{opcode}.rn.bf16x2 %d, {names};", "u4", *pairs).view("u2").reshape(-1, 2)
    np.testing.assert_array_equal(both, np.stack([found, found[::-1]], axis=1))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("target, source, dtype", [("f16", "f32", "f4"), ("f32", "f64", "f8"), ("f16", "f64", "f8")])
def test_conversions_between_floats_round_in_every_direction(target, source, dtype, mode):
    values = floats(dtype, spread=20)
    values[:3] = [2.0**-26, -(2.0**-24), 70000.0]
    found = run(f"cvt.{mode}.{target}.{source} %d, %a;", {"f16": "f2", "f32": "f4"}[target], values)
    np.testing.assert_array_equal(found.astype(np.float64), expected(lambda a: a, target, mode, values))


@pytest.mark.parametrize("target, mode", [("bf16", "rn"), ("bf16", "rz"), ("tf32", "rna"), ("tf32", "rn")])
def test_conversions_to_short_floats(target, mode):
    values = floats("f4", spread=20)
    values[:2] = [1 + 2.0**-9, 1 + 2.0**-11]  # ties of bfloat16 and tf32
    found = run(f"cvt.{mode}.{target}.f32 %d, %a;", "u2" if target == "bf16" else "u4", values)
    numbers = widened(found) if target == "bf16" else found.view("f4")
    np.testing.assert_array_equal(numbers.astype(np.float64), expected(lambda a: a, target, mode, values))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("target, source", [("f32", "i4"), ("f32", "i8"), ("f32", "u8"), ("f64", "u8"), ("f64", "i8")])
def test_conversions_from_integers_round_once(target, source, mode):
    values = integers(source)
    letter = {"i": "s", "u": "u"}[source[0]] + str(8 * int(source[1]))
    found = run(f"cvt.{mode}.{target}.{letter} %d, %a;", {"f32": "f4", "f64": "f8"}[target], values)
    assert found.astype(np.float64).tolist() == [round_exactly(Fraction(int(value)), target, mode) for value in values]


@pytest.mark.parametrize("mode, whole", [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)])
@pytest.mark.parametrize("target, dtype", [("s32", "i4"), ("u32", "u4"), ("s64", "i8"), ("u64", "u8")])
def test_conversions_to_integers_clip(target, dtype, mode, whole):
    values = floats("f4", spread=34)
    values[:8] = [np.nan, np.inf, -np.inf, 0.5, 1.5, -0.5, 3e9, -3e9]
    found = run(f"cvt.{mode}.{target}.f32 %d, %a;", dtype, values)
    limits = np.iinfo(dtype)
    assert found[0] == (0 if target in ("s32", "u32") else 2**63 if target == "u64" else -(2**63))
    wanted = [int(max(limits.min, min(limits.max, value))) for value in whole(values[1:].astype("f8")).tolist()]
    assert found[1:].tolist() == wanted


def test_nan_of_float64_becomes_an_integer_with_the_highest_bit():
    assert run("cvt.rzi.s32.f64 %d, %a;", "i4", np.full(4, np.nan)).tolist() == [-(2**31)] * 4


def test_pairs_and_eight_bit_floats_convert():
    high, low = floats("f4"), floats("f4")
    found = run("cvt.rn.f16x2.f32 %d, %a, %b;", "u4", high, low).view("f2").reshape(-1, 2)
    np.testing.assert_array_equal(found, np.stack([low.astype("f2"), high.astype("f2")], axis=1))
    high[:4] = [1e6, -1e6, 2.0**-9, 2.0**-10]
    pair = run("cvt.rn.satfinite.e4m3x2.f32 %d, %a, %b;", "u2", high, low)
    back = run("cvt.rn.f16x2.e4m3x2 %d, %a;", "u4", pair).view("f2").reshape(-1, 2)[:, 1].astype("f8")
    assert back[:4].tolist() == [448, -448, 2.0**-9, 0]  # the last is a tie with zero
    inside = np.abs(high) < 448
    assert (np.abs(back - high)[inside] <= np.maximum(np.abs(high)[inside] / 16, 2.0**-10)).all()


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.0**-140], "f4")
LEFT, RIGHT = np.repeat(SPECIAL, len(SPECIAL)), np.tile(SPECIAL, len(SPECIAL))
NAN = np.isnan(LEFT) | np.isnan(RIGHT)

FLOAT_CASES = [
    ("min.f32 %d, %a, %b;", "f4", lambda a, b: np.where((a == 0) & (b == 0), np.where(np.signbit(a), a, b), np.fmin(a, b))),
    ("max.f32 %d, %a, %b;", "f4", lambda a, b: np.where((a == 0) & (b == 0), np.where(np.signbit(a), b, a), np.fmax(a, b))),
    (
        "max.NaN.f32 %d, %a, %b;",
        "f4",
        lambda a, b: np.where(NAN, np.nan, np.where((a == 0) & (b == 0), a + b, np.fmax(a, b))),
    ),
    ("setp.eq.f32 %d, %a, %b;", "?", lambda a, b: a == b),
    ("setp.ne.f32 %d, %a, %b;", "?", lambda a, b: (a != b) & ~NAN),
    ("setp.neu.f32 %d, %a, %b;", "?", lambda a, b: a != b),
    ("setp.ltu.f32 %d, %a, %b;", "?", lambda a, b: (a < b) | NAN),
    ("setp.num.f32 %d, %a, %b;", "?", lambda a, b: ~NAN),
    ("setp.nan.f32 %d, %a, %b;", "?", lambda a, b: NAN),
    ("setp.le.ftz.f32 %d, %a, %b;", "?", lambda a, b: np.where(a == SPECIAL[7], 0, a) <= np.where(b == SPECIAL[7], 0, b)),
    ("neg.f32 %d, %a;", "f4", lambda a, b: -a),
    ("abs.f32 %d, %a;", "f4", lambda a, b: np.abs(a)),
    ("copysign.f32 %d, %a, %b;", "f4", lambda a, b: np.copysign(b, a)),
    ("add.ftz.f32 %d, %a, 0f00000000;", "f4", lambda a, b: np.where(a == SPECIAL[7], np.float32(0), a + np.float32(0))),
    ("add.sat.f32 %d, %a, %b;", "f4", lambda a, b: np.where(np.isnan(a + b), np.float32(0), np.clip(a + b, 0, 1))),
    ("sqrt.rn.f32 %d, %a;", "f4", lambda a, b: np.sqrt(a)),
    ("cvt.rzi.f32.f32 %d, %a;", "f4", lambda a, b: np.trunc(a)),
    ("testp.subnormal.f32 %d, %a;", "?", lambda a, b: a == SPECIAL[7]),
    ("testp.infinite.f32 %d, %a;", "?", lambda a, b: np.isinf(a)),
    ("set.gt.u32.f32 %d, %a, %b;", "u4", lambda a, b: np.where(a > b, 2**32 - 1, 0)),
    ("ex2.approx.f32 %d, %a;", "f4", lambda a, b: np.exp2(a)),
    ("tanh.approx.f32 %d, %a;", "f4", lambda a, b: np.tanh(a)),
]


@pytest.mark.parametrize("text, result, function", FLOAT_CASES, ids=[case[0] for case in FLOAT_CASES])
def test_float_instructions_on_special_values(text, result, function):
    with np.errstate(all="ignore"):
        wanted = np.asarray(function(LEFT, RIGHT)).astype(result)
    found = run(text, result, LEFT, RIGHT)
    np.testing.assert_array_equal(found, wanted)
    if result == "f4":
        numbers = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(wanted)[numbers])


@pytest.mark.parametrize(
    "text, message",
    [
        ("frobnicate.b32 %r1, %r2;", "unknown instruction frobnicate"),
        ("add.frob.s32 %r1, %r2, %r3;", "unsupported modifier .frob"),
        ("wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%rd1];", "unknown instruction wmma"),
        ("add.s32 %r1, %r2;", "3 operands expected"),
        ("add.s32 %r1, %undeclared, %r2;", "unknown operand %undeclared"),
        ("add.s32 %r1, %rd1, nothing;", "unknown operand nothing"),
        ("add.s64 %rd1, %r1, %rd2;", "%r1 has 32 bits, .s64 needs 64"),
        ("bra nowhere;", "branch to an unknown label"),
        ("cvt.rn.f32.q32 %r1, %r2;", "unsupported modifier .q32|no type"),
        ("ld.global.pred %q1, [%rd1];", "unsupported types or operands"),
        ("bra ;", "1 operands expected, found 0"),
        ("ld.param.b64 %rd1, k_0;", "an address expected"),
        ("cp.async.wait_group %r1;", "a number expected"),
        ("ld.global.b32 %r1, [%rd1+%rd2];", "unsupported address"),
        ("mov.b32 %r1, 0f3F8;", "unknown operand 0f3F8"),
        ("call (%r1), expf, (%r2);", "call of a function that the module does not define"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f64.f64.f32 {%r1}, {%r2}, {%r3}, {%r4};", "unsupported form of mma"),
    ],
)
def test_what_is_unknown_is_an_error_when_the_module_is_loaded(text, message):
    ptx = kernel(text)
    with pytest.raises(PtxError, match=message) as caught:
        Emulator(1 << 16).load(ptx)
    assert ptx.splitlines()[caught.value.line - 1] == text


@pytest.mark.parametrize(
    "text, message",
    [
        (HEADER + ".entry k() { ret;", "ends inside"),
        (HEADER + ".global .q32 x;", "unknown type"),
        (".version 8", "unsupported directive"),
    ],
)
def test_broken_modules_are_errors(text, message):
    with pytest.raises(PtxError, match=message):
        Emulator(1 << 16).load(text)
