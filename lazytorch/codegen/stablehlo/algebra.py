"""Rules of complex numbers, Fourier transforms, matrices and divisors."""

from __future__ import annotations

from lazytorch import dtypes
from lazytorch.codegen.stablehlo.emitter import Emitter, Term, compared, rule, tensor_type
from lazytorch.codegen.stablehlo.tensors import concatenate, slice_of, transposed
from lazytorch.ir.core import Operation
from lazytorch.ir.dialects import complex_numbers, fourier, integers, linalg
from lazytorch.ir.types import TensorType


@rule(complex_numbers.to_pairs)
def _to_pairs(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (z,) = operands
    result = tensor_type(operation.result)
    parts = [e.op(f"stablehlo.{part}", [z], result.with_shape(z.type.shape)) for part in ("real", "imag")]
    return concatenate(e, [e.reshape(part, (*z.type.shape, 1)) for part in parts], z.type.rank)


@rule(complex_numbers.of_pairs)
def _of_pairs(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    (x,) = operands
    *lead, _ = x.type.shape
    none, steps = [0] * len(lead), [1] * x.type.rank
    parts = [e.reshape(slice_of(e, x, [*none, part], [*lead, 1], steps), tuple(lead)) for part in (0, 1)]
    return e.op("stablehlo.complex", parts, tensor_type(operation.result))


@rule(fourier.transform)
def _transform(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """One dimension after the other, each brought to the end; StableHLO's inverse divides by the length."""
    (z,) = operands
    a, rank = operation.attributes, z.type.rank
    for dim in a.dims:
        size = z.type.shape[dim]
        order = [d for d in range(rank) if d != dim] + [dim]
        z = transposed(e, z, order)
        kind = "IFFT" if a.inverse else "FFT"
        attributes = f"fft_type = #stablehlo<fft_type {kind}>, fft_length = array<i64: {size}>"
        z = e.op("stablehlo.fft", [z], z.type, attributes)
        if a.inverse:
            z = e.op("stablehlo.multiply", [z, e.constant(size, z.type)], z.type)
        z = transposed(e, z, [order.index(d) for d in range(rank)])
    return z


@rule(linalg.cholesky)
def _cholesky(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """What StableHLO leaves above the diagonal is not defined."""
    (x,) = operands
    factor = e.op("stablehlo.cholesky", [x], x.type, "lower = true")
    places = x.type.with_dtype(dtypes.int64)
    row, column = (e.op("stablehlo.iota", [], places, f"iota_dimension = {x.type.rank - d} : i64") for d in (2, 1))
    return e.select(e.compare("GE", row, column), factor, e.constant(0, x.type))


@rule(linalg.solve_triangular)
def _solve_triangular(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    a = operation.attributes
    attributes = (
        f"left_side = true, lower = {str(not a.upper).lower()}, unit_diagonal = {str(a.unit).lower()}, "
        "transpose_a = #stablehlo<transpose NO_TRANSPOSE>"
    )
    return e.op("stablehlo.triangular_solve", operands, tensor_type(operation.result), attributes)


@rule(integers.gcd)
def _gcd(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """Euclid's algorithm, until all remainders are 0."""
    type = tensor_type(operation.result)
    values = [e.broadcast(x, type.shape) for x in operands]
    if type.dtype.kind == "i":
        values = [e.op("stablehlo.abs", [x], type) for x in values]
    flags, flag = type.with_dtype(dtypes.bool_), TensorType(dtypes.bool_, ())
    dims = ", ".join(map(str, range(type.rank)))

    def constant(name: str, text: str, of: TensorType) -> str:
        return f'  {name} = "stablehlo.constant"() {{value = dense<{text}> : {of}}} : () -> {of}'

    def unequal(result: str) -> str:
        return compared(result, "NE", "%b", "%zero", type).replace("-> tensor<i1>", f"-> {flags}")

    region = [
        f"^bb0(%a: {type}, %b: {type}):",
        constant("%zero", "0", type),
        unequal("%left"),
        constant("%none", "false", flag),
        '  %any = "stablehlo.reduce"(%left, %none) ({',
        f"  ^bb0(%p: {flag}, %q: {flag}):",
        f'    %r = "stablehlo.or"(%p, %q) : ({flag}, {flag}) -> {flag}',
        f'    "stablehlo.return"(%r) : ({flag}) -> ()',
        f"  }}) {{dimensions = array<i64{': ' + dims if dims else ''}>}} : ({flags}, {flag}) -> {flag}",
        f'  "stablehlo.return"(%any) : ({flag}) -> ()',
        "}, {",
        f"^bb0(%a: {type}, %b: {type}):",
        constant("%zero", "0", type),
        constant("%one", "1", type),
        unequal("%left"),
        f'  %by = "stablehlo.select"(%left, %b, %one) : ({flags}, {type}, {type}) -> {type}',
        f'  %rest = "stablehlo.remainder"(%a, %by) : ({type}, {type}) -> {type}',
        f'  %c = "stablehlo.select"(%left, %b, %a) : ({flags}, {type}, {type}) -> {type}',
        f'  %d = "stablehlo.select"(%left, %rest, %zero) : ({flags}, {type}, {type}) -> {type}',
        f'  "stablehlo.return"(%c, %d) : ({type}, {type}) -> ()',
    ]
    return e.several("stablehlo.while", values, [type, type], "", region)[0]


@rule(integers.lcm)
def _lcm(e: Emitter, operation: Operation, operands: list[Term]) -> Term:
    """|a / gcd(a, b) * b|, 0 where both are 0."""
    type = tensor_type(operation.result)
    divisor = _gcd(e, operation, operands)
    left, right = (e.broadcast(x, type.shape) for x in operands)
    zero, one = e.constant(0, type), e.constant(1, type)
    by = e.select(e.compare("EQ", divisor, zero), one, divisor)
    product = e.op("stablehlo.multiply", [e.op("stablehlo.divide", [left, by], type), right], type)
    return product if type.dtype.kind == "u" else e.op("stablehlo.abs", [product], type)
