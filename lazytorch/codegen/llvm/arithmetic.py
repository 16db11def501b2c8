"""Lowering of arith: exact operations on scalars and vectors of every element type."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.llvm.emitter import (
    FunctionEmitter,
    literal,
    llvm_type,
    lowering,
    suffix,
)
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import Type


@lowering(arith.constant)
def _constant(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = literal(op.attributes.value, op.result.type)


_FLOAT = {arith.add: "fadd", arith.sub: "fsub", arith.mul: "fmul", arith.div: "fdiv"}
_INTEGER = {
    arith.add: "add",
    arith.sub: "sub",
    arith.mul: "mul",
    arith.bit_and: "and",
    arith.bit_or: "or",
    arith.bit_xor: "xor",
}


_BITWISE = (arith.bit_and, arith.bit_or, arith.bit_xor)


@lowering(arith.add, arith.sub, arith.mul, arith.bit_and, arith.bit_or, arith.bit_xor)
def _binary(f: FunctionEmitter, op: Operation) -> None:
    kind = op.result.type.dtype.kind
    a, b = (f[x] for x in op.operands)
    if kind == "f":
        f.names[op.result] = float_operation(f, op.result.type, _FLOAT[op.declaration], a, b)
        return
    if kind == "b":
        name = {"add": "or", "sub": "xor", "mul": "and"}.get(_INTEGER[op.declaration], _INTEGER[op.declaration])
    else:
        name = _INTEGER[op.declaration] + (" nsw" if kind == "x" and op.declaration not in _BITWISE else "")
    f.set(op, f"{name} {llvm_type(op.result.type)} {a}, {b}")


def float_operation(f: FunctionEmitter, type: Type, name: str, *operands: str) -> str:
    """A floating operation. f16 and bf16 compute in f32 and round after each one: that is their definition here."""
    if type.dtype.itemsize >= 4:
        return f.op(f"{name} {llvm_type(type)} {', '.join(operands)}")
    wide = type.with_dtype(dtypes.float32)
    extended = [convert(f, x, type, wide) for x in operands]
    return convert(f, f.op(f"{name} {llvm_type(wide)} {', '.join(extended)}"), wide, type)


@lowering(arith.div, arith.remainder)
def lower_division(f: FunctionEmitter, op: Operation) -> None:
    """Quotient or remainder."""
    type = op.result.type
    a, b = (f[x] for x in op.operands)
    kind = type.dtype.kind
    quotient = op.declaration is arith.div
    if kind == "f":
        f.names[op.result] = float_operation(f, type, "fdiv" if quotient else "frem", a, b)
        return
    names = ("sdiv", "srem") if kind == "i" else ("udiv", "urem")
    name, text, flag = names[0 if quotient else 1], llvm_type(type), llvm_type(type.with_dtype(dtypes.bool_))
    if kind == "x":  # sizes: what kernels divide by is never 0
        f.set(op, f"{name} {text} {a}, {b}")
        return
    # The machine traps on x / 0, and on the smallest number / -1: both divide by 1 instead, and -1 is put right below.
    unsafe = f.op(f"icmp eq {text} {b}, {literal(0, type)}")
    if kind == "i":
        is_minus = f.op(f"icmp eq {text} {b}, {literal(-1, type)}")
        unsafe = f.op(f"or {flag} {unsafe}, {is_minus}")
    safe = f.op(f"select {flag} {unsafe}, {text} {literal(1, type)}, {text} {b}")
    if kind != "i":
        f.set(op, f"{name} {text} {a}, {safe}")
        return
    plain = f.op(f"{name} {text} {a}, {safe}")
    special = f.op(f"sub {text} {literal(0, type)}, {a}") if quotient else literal(0, type)
    f.set(op, f"select {flag} {is_minus}, {text} {special}, {text} {plain}")


def comparable(f: FunctionEmitter, x: Value) -> tuple[Type, str]:
    """A value in a type that LLVM compares: bf16 as f32."""
    if x.type.dtype is not dtypes.bfloat16:
        return x.type, f[x]
    wide = x.type.with_dtype(dtypes.float32)
    return wide, convert(f, f[x], x.type, wide)


@lowering(arith.neg)
def _neg(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    if x.type.dtype is dtypes.bfloat16:
        f.set(op, f"xor {f.typed(x)}, {literal(-0.0, x.type)}")
    elif x.type.dtype.kind == "f":
        f.set(op, f"fneg {f.typed(x)}")
    else:
        f.set(op, f"sub {llvm_type(x.type)} {literal(0, x.type)}, {f[x]}")


_UNARY = {
    arith.floor: "llvm.floor",
    arith.ceil: "llvm.ceil",
    arith.trunc: "llvm.trunc",
    arith.round_even: "llvm.roundeven",
    arith.sqrt: "llvm.sqrt",
    arith.abs_: "llvm.fabs",
}


@lowering(*_UNARY)
def _unary(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    type = x.type
    text = llvm_type(type)
    if type.dtype.kind != "f":
        if op.declaration is arith.abs_ and type.dtype.kind == "i":
            f.names[op.result] = f.intrinsic(f"llvm.abs.{suffix(type)}", text, [(text, f[x]), ("i1", "false")])
        else:
            f.names[op.result] = f[x]
        return
    f.names[op.result] = wide_intrinsic(f, _UNARY[op.declaration], type, [f[x]])


def wide_intrinsic(f: FunctionEmitter, name: str, type: Type, operands: Sequence[str]) -> str:
    """A floating intrinsic; narrow types go through f32."""
    if type.dtype.itemsize >= 4:
        text = llvm_type(type)
        return f.intrinsic(f"{name}.{suffix(type)}", text, [(text, x) for x in operands])
    wide = type.with_dtype(dtypes.float32)
    extended = [convert(f, x, type, wide) for x in operands]
    return convert(f, wide_intrinsic(f, name, wide, extended), wide, type)


@lowering(arith.fma)
def _fma(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = wide_intrinsic(f, "llvm.fma", op.result.type, [f[x] for x in op.operands])


@lowering(arith.copysign)
def _copysign(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = wide_intrinsic(f, "llvm.copysign", op.result.type, [f[x] for x in op.operands])


@lowering(arith.sign)
def _sign(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    type, text = x.type, llvm_type(x.type)
    flag = llvm_type(type.with_dtype(dtypes.bool_))
    if type.dtype.kind == "b":
        f.names[op.result] = f[x]
        return
    nothing = literal(0, type)
    if type.dtype.kind == "f":
        compared, name = comparable(f, x)
        zero = literal(0, compared)
        above, below = (f.op(f"fcmp {p} {llvm_type(compared)} {name}, {zero}") for p in ("ogt", "olt"))
    else:
        above = f.op(f"icmp {'ugt' if type.dtype.kind == 'u' else 'sgt'} {text} {f[x]}, {nothing}")
        below = (
            f.op(f"icmp slt {text} {f[x]}, {nothing}")
            if type.dtype.kind == "i"
            else literal(False, type.with_dtype(dtypes.bool_))
        )
    lower_part = f.op(f"select {flag} {below}, {text} {literal(-1, type)}, {text} {nothing}")
    f.set(op, f"select {flag} {above}, {text} {literal(1, type)}, {text} {lower_part}")


@lowering(arith.maximum, arith.minimum)
def _extreme(f: FunctionEmitter, op: Operation) -> None:
    a, b = op.operands
    type, text = a.type, llvm_type(a.type)
    flag = llvm_type(type.with_dtype(dtypes.bool_))
    largest = op.declaration is arith.maximum
    kind = type.dtype.kind
    if kind != "f":
        signed = "u" if kind in "ub" else "s"
        chosen = f.op(f"icmp {signed}{'gt' if largest else 'lt'} {text} {f[a]}, {f[b]}")
        f.set(op, f"select {flag} {chosen}, {text} {f[a]}, {text} {f[b]}")
        return
    # b if b is beyond a or nan, else a; a nan in a stays because every ordered comparison with it is false
    (compared, left), (_, right) = comparable(f, a), comparable(f, b)
    beyond = f.op(f"fcmp {'ogt' if largest else 'olt'} {llvm_type(compared)} {right}, {left}")
    nan = f.op(f"fcmp uno {llvm_type(compared)} {right}, {right}")
    take = f.op(f"or {flag} {beyond}, {nan}")
    f.set(op, f"select {flag} {take}, {text} {f[b]}, {text} {f[a]}")


@lowering(arith.bit_not)
def _not(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    f.set(op, f"xor {f.typed(x)}, {literal(-1 if x.type.dtype is not dtypes.bool_ else True, x.type)}")


@lowering(arith.shift_left, arith.shift_right)
def _shift(f: FunctionEmitter, op: Operation) -> None:
    """The machine's shift is undefined for amounts that are negative or not less than the width (in unsigned terms: not
    less), so such an amount shifts by 0, or by all bits but the sign, and the result is put right where that is not all."""
    a, b = op.operands
    type = a.type
    text, flag = llvm_type(type), llvm_type(type.with_dtype(dtypes.bool_))
    signed_right = op.declaration is arith.shift_right and type.dtype.kind == "i"
    name = "shl" if op.declaration is arith.shift_left else "ashr" if signed_right else "lshr"
    fits = f.op(f"icmp ult {text} {f[b]}, {literal(type.dtype.bits, type)}")
    amount = f.op(f"select {flag} {fits}, {f.typed(b)}, {text} {literal(type.dtype.bits - 1 if signed_right else 0, type)}")
    if signed_right:
        f.set(op, f"{name} {f.typed(a)}, {amount}")
        return
    shifted = f.op(f"{name} {f.typed(a)}, {amount}")
    f.set(op, f"select {flag} {fits}, {text} {shifted}, {text} {literal(0, type)}")


@lowering(arith.compare)
def _compare(f: FunctionEmitter, op: Operation) -> None:
    a, b = op.operands
    predicate = op.attributes.predicate
    kind = a.type.dtype.kind
    if kind == "f":
        (compared, left), (_, right) = comparable(f, a), comparable(f, b)
        f.set(op, f"fcmp {'une' if predicate == 'ne' else 'o' + predicate} {llvm_type(compared)} {left}, {right}")
    else:
        signed = "" if predicate in ("eq", "ne") else "u" if kind in "ub" else "s"
        f.set(op, f"icmp {signed}{predicate} {f.typed(a)}, {f[b]}")


@lowering(arith.select)
def _select(f: FunctionEmitter, op: Operation) -> None:
    condition, a, b = op.operands
    f.set(op, f"select {f.typed(condition)}, {f.typed(a)}, {f.typed(b)}")


@lowering(arith.bitcast)
def _bitcast(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    if llvm_type(x.type) == llvm_type(op.result.type):
        f.names[op.result] = f[x]
    else:
        f.set(op, f"bitcast {f.typed(x)} to {llvm_type(op.result.type)}")


@lowering(arith.cast)
def _cast(f: FunctionEmitter, op: Operation) -> None:
    x, type = op.operands[0], op.result.type
    f.names[op.result] = convert(f, f[x], x.type, type)


def convert(f: FunctionEmitter, name: str, source: Type, target: Type) -> str:
    """Conversion by value."""
    a, b = source.dtype, target.dtype
    before, after = llvm_type(source), llvm_type(target)
    if a is b:
        return name
    if a is dtypes.bfloat16:
        return convert(f, _of_bfloat16(f, name, source), source.with_dtype(dtypes.float32), target)
    if b is dtypes.bool_:
        if a.kind == "f":
            return f.op(f"fcmp une {before} {name}, {literal(0.0, source)}")
        return f.op(f"icmp ne {before} {name}, {literal(0, source)}")
    if a.kind == "f" and b.kind == "f":
        if 2 in (a.itemsize, b.itemsize) and dtypes.float32 not in (a, b):  # halves: through f32, as torch
            wide = source.with_dtype(dtypes.float32)
            return convert(f, convert(f, name, source, wide), wide, target)
        if b is dtypes.bfloat16:
            return _to_bfloat16(f, name, source, target)
        return f.op(f"{'fpext' if a.itemsize < b.itemsize else 'fptrunc'} {before} {name} to {after}")
    if a.kind == "f":
        return _to_integer(f, name, source, target)
    if b.kind == "f":
        if b.itemsize < 4:
            wide = source.with_dtype(dtypes.float32)
            return convert(f, convert(f, name, source, wide), wide, target)
        return f.op(f"{'uitofp' if a.kind in 'ub' else 'sitofp'} {before} {name} to {after}")
    width_before, width_after = a.bits, b.bits
    if width_before == width_after:
        return name
    if width_before > width_after:
        return f.op(f"trunc {before} {name} to {after}")
    return f.op(f"{'zext' if a.kind in 'ub' else 'sext'} {before} {name} to {after}")


def _to_bfloat16(f: FunctionEmitter, name: str, source: Type, target: Type) -> str:
    """The upper half of an f32, rounded to nearest even in integers: CPUs have no instruction for it, or one that takes
    the smallest numbers for 0."""
    bits = source.with_dtype(dtypes.int32)
    wide, flag = llvm_type(bits), llvm_type(source.with_dtype(dtypes.bool_))
    pattern = f.op(f"bitcast {llvm_type(source)} {name} to {wide}")
    upper = f.op(f"lshr {wide} {pattern}, {literal(16, bits)}")
    odd = f.op(f"and {wide} {upper}, {literal(1, bits)}")
    sum_ = f.op(f"add {wide} {f.op(f'add {wide} {pattern}, {literal(0x7FFF, bits)}')}, {odd}")
    rounded = f.op(f"lshr {wide} {sum_}, {literal(16, bits)}")
    nan = f.op(f"or {wide} {upper}, {literal(0x40, bits)}")
    is_nan = f.op(f"fcmp uno {llvm_type(source)} {name}, {name}")
    chosen = f.op(f"select {flag} {is_nan}, {wide} {nan}, {wide} {rounded}")
    return f.op(f"trunc {wide} {chosen} to {llvm_type(target)}")


def _of_bfloat16(f: FunctionEmitter, name: str, source: Type) -> str:
    """The f32 whose upper half the pattern is."""
    wide = llvm_type(source.with_dtype(dtypes.int32))
    pattern = f.op(f"zext {llvm_type(source)} {name} to {wide}")
    shifted = f.op(f"shl {wide} {pattern}, {literal(16, source.with_dtype(dtypes.int32))}")
    return f.op(f"bitcast {wide} {shifted} to {llvm_type(source.with_dtype(dtypes.float32))}")


def _to_integer(f: FunctionEmitter, name: str, source: Type, target: Type) -> str:
    """Truncation to `arith.integer_of_float`'s type; what does not fit (nan, infinity) becomes its smallest number.

    The same on every CPU, which the bare instruction is not.
    """
    if source.dtype.itemsize < 4:
        up = source.with_dtype(dtypes.float32)
        return _to_integer(f, convert(f, name, source, up), up, target)
    wide = source.with_dtype(arith.integer_of_float(target.dtype))
    before, after = llvm_type(source), llvm_type(wide)
    flag = llvm_type(source.with_dtype(dtypes.bool_))
    limit = 2.0 ** (wide.dtype.bits - 1)
    # Between -limit - 1 and -limit lie numbers that truncate to -limit; what does not fit becomes -limit too.
    low = f.op(f"fcmp oge {before} {name}, {literal(-limit, source)}")
    high = f.op(f"fcmp olt {before} {name}, {literal(limit, source)}")
    fits = f.op(f"and {flag} {low}, {high}")
    safe = f.op(f"select {flag} {fits}, {before} {name}, {before} {literal(0.0, source)}")
    number = f.op(f"fptosi {before} {safe} to {after}")
    number = f.op(f"select {flag} {fits}, {after} {number}, {after} {literal(-int(limit), wide)}")
    return convert(f, number, wide, target)
