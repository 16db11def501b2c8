"""Matrix products and einsum, on the one general contraction."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.trace import STATE, Node
from lazytorch.ops.autocasting import narrowing
from lazytorch.ops.elementwise import ADD
from lazytorch.ops.recording import (
    FUNCTIONS,
    attach,
    cast,
    emit,
    number_leaf,
    place,
    require_floating,
    result,
    rounding_once,
    torch_function,
    without_slope,
)
from lazytorch.tensor import Tensor, value

_BATCH = "abcdefgh"


def _checked(a: Node, b: Node, name: str) -> None:
    if a.type.dtype is not b.type.dtype:
        names = {"f32": "float", "f64": "double", "i64": "long long", "f16": "c10::Half", "i32": "int"}
        left, right = (names.get(x.type.dtype.name, x.type.dtype.torch_name) for x in (a, b))
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {left} != {right}")


def product(a: Node, b: Node, label: str = "") -> Node:
    """matmul of two nodes, whatever their ranks."""
    _checked(a, b, "matmul")
    ra, rb = len(a.type.shape), len(b.type.shape)
    if ra == 0 or rb == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {ra}D and {rb}D")
    if ra == 1 and rb == 1:
        if a.type.shape != b.type.shape:
            raise RuntimeError(
                f"inconsistent tensor size, expected tensor [{a.type.shape[0]}] and src [{b.type.shape[0]}] to have the "
                f"same number of elements, but got {a.type.shape[0]} and {b.type.shape[0]} elements respectively"
            )
        return emit(tensor.contract, a, b, label=label or "Dot", lhs="k", rhs="k", out="")
    if ra <= 2 and rb <= 2:
        letters = ("mk" if ra == 2 else "k"), ("kn" if rb == 2 else "k")
        out = letters[0].replace("k", "") + letters[1].replace("k", "")
        _shapes(a, b)
        default = "Mm" if ra == rb == 2 else "Mv"
        return emit(tensor.contract, a, b, label=label or default, lhs=letters[0], rhs=letters[1], out=out)
    return _batched(a, b, label)


def _shapes(a: Node, b: Node) -> None:
    left, right = a.type.shape, b.type.shape
    if left[-1] != right[-2 if len(right) > 1 else 0]:
        if len(right) == 1:
            raise RuntimeError(f"size mismatch, got input ({left[0]}), mat ({left[0]}x{left[1]}), vec ({right[0]})")
        if len(left) == 1:
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied (1x{left[0]} and {right[0]}x{right[1]})")
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({left[0]}x{left[1]} and {right[0]}x{right[1]})")


def _batched(a: Node, b: Node, label: str) -> Node:
    """Leading dimensions are batch and broadcast."""
    sa, sb = a.type.shape, b.type.shape
    wide_a = sa if len(sa) > 1 else (1, *sa)
    wide_b = sb if len(sb) > 1 else (*sb, 1)
    if wide_a[-1] != wide_b[-2]:
        flat = 1
        for size in wide_a[:-1]:
            flat *= size
        if len(wide_b) == 2:
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({flat}x{wide_a[-1]} and {wide_b[-2]}x{wide_b[-1]})"
            )
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{flat // wide_a[-2]}, {wide_a[-1]}] but "
            f"got: [{flat // wide_a[-2]}, {wide_b[-2]}]."
        )
    batch = arith.broadcast_shapes(wide_a[:-2], wide_b[:-2])
    names = _BATCH[: len(batch)]

    def operand(node: Node, shape: tuple[int, ...], last: str) -> tuple[Node, str]:
        own = shape[:-2]
        kept = [
            (n, size)
            for n, size, full in zip(names[len(batch) - len(own) :], own, batch[len(batch) - len(own) :], strict=True)
            if size == full
        ]
        letters = "".join(n for n, _ in kept)
        want = (*[size for _, size in kept], *shape[-2:])
        return (node if node.type.shape == want else emit(tensor.reshape, node, shape=want)), letters + last

    left, lhs = operand(a, wide_a, "mk")
    right, rhs = operand(b, wide_b, "kn")
    out = emit(tensor.contract, left, right, label=label or "UnsafeView", lhs=lhs, rhs=rhs, out=names + "mn")
    shape = (*batch, *(wide_a[-2:-1] if len(sa) > 1 else ()), *(wide_b[-1:] if len(sb) > 1 else ()))
    return out if out.type.shape == shape else emit(tensor.reshape, out, shape=shape)


@torch_function("matmul", out="same")
@narrowing
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, with torch's rules for every rank."""
    place()
    return result(product(value(input), value(other)))


def _operator(self: Tensor, other: Any) -> Any:
    if not isinstance(other, Tensor):
        return NotImplemented
    if STATE.trace.autocast is not None:
        return matmul(self, other)
    place()
    return result(product(value(self), value(other)))


attach("__matmul__", _operator)
attach("__rmatmul__", lambda self, other: _operator(other, self))


def _ranked(name: str, ranks: tuple[int, int], message: str) -> None:
    def function(input: Tensor, other: Tensor) -> Tensor:
        if input.dtype is dtypes.bool_ and other.dtype is not input.dtype:
            require_floating(name, input)
        if (len(input.shape), len(other.shape)) != ranks:
            raise RuntimeError(message)
        if not isinstance(input, Tensor) and input.is_sparse:
            return input @ other
        place()
        return result(product(value(input), value(other), name.title()))

    function.__name__, function.__doc__ = name, f"The product of operands of ranks {ranks[0]} and {ranks[1]}."
    torch_function(name, out="same")(narrowing(function) if name in ("mm", "bmm") else function)


_ranked("mm", (2, 2), "self must be a matrix")
_ranked("bmm", (3, 3), "batch1 must be a 3D tensor")
_ranked("mv", (2, 1), "vector + matrix @ vector expected, got 1, 2, 1")
_ranked("dot", (1, 1), "1D tensors expected, but got 2D and 2D tensors")


@torch_function("addmm", inplace=True, out="same")
@narrowing
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2"""
    return _added(input, mat1, mat2, beta, alpha, "Addmm")


def _added(input: Tensor, a: Tensor, b: Tensor, beta: Any, alpha: Any, label: str) -> Tensor:
    require_one_type(input, b)
    place()
    added = _sum if alpha == 1 and beta == 1 else rounding_once(_sum)
    return added(input, a, b, beta, alpha, label)


def _sum(input: Tensor, a: Tensor, b: Tensor, beta: Any, alpha: Any, label: str) -> Tensor:
    return combined(input, result(product(value(a), value(b))), beta, alpha, label)


def require_one_type(input: Tensor, other: Tensor) -> None:
    """Raise torch's RuntimeError for what is to be added to a product of another element type."""
    if input.dtype is not other.dtype:
        kinds = input.dtype.title, other.dtype.title
        raise RuntimeError(f"self and mat2 must have the same dtype, but got {kinds[0]} and {kinds[1]}")


def combined(input: Tensor, found: Tensor, beta: Any, alpha: Any, label: str) -> Tensor:
    """beta * input + alpha * found. With beta = 0 the input only says what the shape is: its nan are not seen."""
    start, out = ADD.operands(input, found)
    dtype = out.type.dtype
    if alpha != 1:
        out = emit(arith.mul, out, number_leaf(alpha, dtype))
    if beta == 0:
        shape = arith.broadcast_shapes(start.type.shape, out.type.shape)
        return without_slope(result(emit(tensor.expand, out, label=label, shape=shape)), input)
    if beta != 1:
        start = emit(arith.mul, start, number_leaf(beta, dtype))
    return result(emit(arith.add, start, out, label=label))


@torch_function("baddbmm", inplace=True, out="same")
@narrowing
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * batch1 @ batch2"""
    return _added(input, batch1, batch2, beta, alpha, "Baddbmm")


@torch_function("outer", "ger")
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The outer product of two vectors."""
    for name, x in (("self", input), ("vec2", vec2)):
        if len(x.shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(x.shape)}-D")
    return input.unsqueeze(1) * vec2


def in_dtype(x: Tensor, dtype: DType) -> Node:
    """The tensor's node in an element type."""
    return cast(value(x), dtype)


__all__ = ["FUNCTIONS", "product"]
