"""`nn`: activations, softmax, linear, dropout, embedding. Attention, losses, normalisation and pooling have own files."""

from __future__ import annotations

import math as python_math
from functools import cache
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import RESULT, Attributes, Declaration, Operator, Trait, example
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.composite import composite, number, reference_of, zeros_like
from lazytorch.ir.dialects.indirect import refuse
from lazytorch.ir.types import TensorType

_LETTERS = "abcdefghij"


def require_floating(name: str, x: TensorType) -> None:
    """Raise torch's NotImplementedError for an element type that the function is not implemented for."""
    if x.dtype.kind != "f":
        raise NotImplementedError(f"\"{name}\" not implemented for '{x.dtype.title}'")


def _infer_floating(name: str) -> Any:
    def infer(attributes: Attributes, x: TensorType) -> TensorType:
        require_floating(name, x)
        return x

    return infer


# -- activations ------------------------------------------------------------


def _relu_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    return arith.select(arith.compare(x, number(0, x), predicate="le"), number(0, g), g)


def _infer_relu(attributes: Attributes, x: TensorType) -> TensorType:
    if x.dtype.kind in "bc":
        raise RuntimeError(f"{'Boolean' if x.dtype.kind == 'b' else 'Complex'} inputs not supported for relu")
    return x


relu: Declaration = composite(
    "nn.relu",
    _infer_relu,
    lambda op: arith.maximum(op.operands[0], number(0, op.operands[0])),
    gradient=_relu_gradient,
    elementwise=True,
    rounds_once=False,
    gradient_name="Relu",
    saves=(RESULT,),
    doc="max(x, 0); the slope at 0 is 0",
)

_SQRT_HALF = python_math.sqrt(0.5)
_TANH_SCALE = python_math.sqrt(2.0 / python_math.pi)
_TANH_CUBIC = 0.044715


def _gelu(op: Any) -> Any:
    x = op.operands[0]
    if op.attributes.approximate == "tanh":
        cube = arith.mul(arith.mul(x, x), x)
        inner = arith.mul(arith.add(x, arith.mul(cube, _TANH_CUBIC)), _TANH_SCALE)
        return arith.mul(arith.mul(x, 0.5), arith.add(math.tanh(inner), 1.0))
    return arith.mul(arith.mul(x, 0.5), arith.add(math.erf(arith.mul(x, _SQRT_HALF)), 1.0))


def _gelu_gradient(op: Any, g: Any, operand: int) -> Any:
    """torch's GeluBackward, in its order of operations."""
    x = op.operands[0]
    if op.attributes.approximate == "tanh":
        square = arith.mul(x, x)
        inner = arith.mul(arith.add(x, arith.mul(arith.mul(square, x), _TANH_CUBIC)), _TANH_SCALE)
        tanh = math.tanh(inner)
        left = arith.mul(x, 0.5)
        slope = arith.mul(arith.sub(1.0, arith.mul(tanh, tanh)), left)
        inner_slope = arith.mul(arith.add(arith.mul(square, 3.0 * _TANH_CUBIC), 1.0), _TANH_SCALE)
        return arith.mul(g, arith.add(arith.mul(arith.add(tanh, 1.0), 0.5), arith.mul(slope, inner_slope)))
    cumulative = arith.mul(arith.add(math.erf(arith.mul(x, _SQRT_HALF)), 1.0), 0.5)
    density = arith.mul(math.exp(arith.mul(arith.mul(x, x), -0.5)), 1.0 / python_math.sqrt(2.0 * python_math.pi))
    return arith.mul(g, arith.add(cumulative, arith.mul(x, density)))


def _infer_gelu(attributes: Attributes, x: TensorType) -> TensorType:
    if attributes.approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    require_floating("GeluKernelImpl", x)
    return x


gelu: Declaration = composite(
    "nn.gelu",
    _infer_gelu,
    _gelu,
    gradient=_gelu_gradient,
    attributes=("approximate",),
    defaults={"approximate": "none"},
    elementwise=True,
    gradient_name="Gelu",
    doc="x times the normal distribution function of x; approximate = 'tanh' for the tanh form",
)


def _silu_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    s = math.sigmoid(x)
    return arith.mul(arith.mul(g, s), arith.add(arith.mul(x, arith.sub(1.0, s)), 1.0))


silu: Declaration = composite(
    "nn.silu",
    _infer_floating("silu_cpu"),
    lambda op: arith.div(op.operands[0], arith.add(math.exp(arith.neg(op.operands[0])), 1.0)),
    gradient=_silu_gradient,
    elementwise=True,
    gradient_name="Silu",
    doc="x * sigmoid(x)",
)


def _is_positive(x: Any) -> Any:
    return arith.compare(x, number(0, x), predicate="gt")


leaky_relu: Declaration = composite(
    "nn.leaky_relu",
    _infer_floating("leaky_relu_cpu"),
    lambda op: arith.select(_is_positive(op.operands[0]), op.operands[0], arith.mul(op.operands[0], op.attributes.slope)),
    gradient=lambda op, g, operand: arith.select(_is_positive(op.operands[0]), g, arith.mul(g, op.attributes.slope)),
    attributes=("slope",),
    defaults={"slope": 0.01},
    elementwise=True,
    gradient_name="LeakyRelu",
    doc="x where positive, slope * x elsewhere",
)
elu: Declaration = composite(
    "nn.elu",
    _infer_floating("elu_cpu"),
    lambda op: arith.select(
        _is_positive(op.operands[0]), op.operands[0], arith.mul(math.expm1(op.operands[0]), op.attributes.alpha)
    ),
    gradient=lambda op, g, operand: arith.select(
        _is_positive(op.operands[0]), g, arith.mul(g, arith.mul(math.exp(op.operands[0]), op.attributes.alpha))
    ),
    attributes=("alpha",),
    defaults={"alpha": 1.0},
    elementwise=True,
    gradient_name="Elu",
    doc="x where positive, alpha * (exp(x) - 1) elsewhere",
)


def _softplus(op: Any) -> Any:
    x, beta = op.operands[0], op.attributes.beta
    scaled = arith.mul(x, beta)
    linear_part = arith.compare(scaled, op.attributes.threshold, predicate="gt")
    return arith.select(linear_part, x, arith.div(math.log1p(math.exp(scaled)), beta))


def _softplus_gradient(op: Any, g: Any, operand: int) -> Any:
    scaled = arith.mul(op.operands[0], op.attributes.beta)
    linear_part = arith.compare(scaled, op.attributes.threshold, predicate="gt")
    z = math.exp(scaled)
    return arith.select(linear_part, g, arith.div(arith.mul(g, z), arith.add(z, 1.0)))


softplus: Declaration = composite(
    "nn.softplus",
    _infer_floating("softplus_cpu"),
    _softplus,
    gradient=_softplus_gradient,
    attributes=("beta", "threshold"),
    defaults={"beta": 1.0, "threshold": 20.0},
    elementwise=True,
    gradient_name="Softplus",
    doc="log(1 + exp(beta x)) / beta, x itself where beta x is above the threshold",
)

# -- softmax ------------------------------------------------------------


def shifted(x: Any, dim: int) -> Any:
    """x minus its largest element along `dim`."""
    return arith.sub(x, tensor.unreduce(tensor.reduce_max(x, dims=(dim,)), x.type.shape, (dim,)))


def sum_along(x: Any, dim: int) -> Any:
    """The sum along `dim`, the dimension kept with size 1."""
    return tensor.unreduce(tensor.reduce_sum(x, dims=(dim,)), x.type.shape, (dim,))


def _infer_softmax(attributes: Attributes, x: TensorType) -> TensorType:
    if x.numel:
        require_floating("softmax_lastdim_kernel_impl" if attributes.dim == x.rank - 1 else "softmax", x)
    return x


def _softmax(op: Any) -> Any:
    x, dim = op.operands[0], op.attributes.dim
    if x.type.numel == 0:
        return x
    e = math.exp(shifted(x, dim))
    return arith.div(e, sum_along(e, dim))


def _softmax_gradient(op: Any, g: Any, operand: int) -> Any:
    y = _softmax(op)
    return arith.mul(y, arith.sub(g, sum_along(arith.mul(g, y), op.attributes.dim)))


softmax: Declaration = composite(
    "nn.softmax",
    _infer_softmax,
    _softmax,
    gradient=_softmax_gradient,
    attributes=("dim",),
    gradient_name="Softmax",
    saves=(RESULT,),
    example=example("tensor<2x3xf32>", dim=1),
    doc="exp(x - max) / sum of it along `dim` (not negative)",
)


def _log_softmax(op: Any) -> Any:
    x, dim = op.operands[0], op.attributes.dim
    if x.type.numel == 0:
        return x
    low = shifted(x, dim)
    return arith.sub(low, math.log(sum_along(math.exp(low), dim)))


def _log_softmax_gradient(op: Any, g: Any, operand: int) -> Any:
    return arith.sub(g, arith.mul(_softmax(op), sum_along(g, op.attributes.dim)))


log_softmax: Declaration = composite(
    "nn.log_softmax",
    _infer_softmax,
    _log_softmax,
    gradient=_log_softmax_gradient,
    attributes=("dim",),
    gradient_name="LogSoftmax",
    saves=(RESULT,),
    example=example("tensor<2x3xf32>", dim=1),
    doc="x - max - log sum exp(x - max) along `dim` (not negative)",
)

# -- linear ------------------------------------------------------------


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _infer_linear(attributes: Attributes, x: TensorType, w: TensorType, b: TensorType) -> TensorType:
    if w.rank != 2:
        raise RuntimeError(f"linear: expected a weight of 2 dimensions but got {list(w.shape)}")
    if x.rank == 0:
        raise RuntimeError("both arguments to linear need to be at least 1D, but they are 0D and 2D")
    lead = TensorType(x.dtype, x.shape[:-1]).numel
    if x.shape[-1] != w.shape[1]:
        first = x.shape if x.rank == 1 else (lead, x.shape[-1])
        if x.rank == 1:
            raise RuntimeError(f"size mismatch, got input ({w.shape[0]}), mat ({_by(w.shape)}), vec ({_by(first)})")
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_by(first)} and {w.shape[1]}x{w.shape[0]})")
    for other in (w, b):
        if other.dtype is not x.dtype:
            raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {x.dtype.title} and {other.dtype.title}")
    if b.shape != (w.shape[0],):
        raise RuntimeError(
            f"The expanded size of the tensor ({w.shape[0]}) must match the existing size "
            f"({b.shape[-1] if b.rank else 1}) at non-singleton dimension 1.  "
            f"Target sizes: {[lead, w.shape[0]]}.  Tensor sizes: {list(b.shape)}"
        )
    return TensorType(x.dtype, (*x.shape[:-1], w.shape[0]))


_contractions: dict[tuple[int, str], Operator] = {}


def _contraction(rank: int, which: str) -> Operator:
    """The contraction of a linear layer on inputs of `rank` dimensions: 'forward', 'input' or 'weight'."""
    found = _contractions.get((rank, which))
    if found is None:
        lead = _LETTERS[: rank - 1]
        letters = {
            "forward": (f"{lead}k", "nk", f"{lead}n"),
            "input": (f"{lead}n", "nk", f"{lead}k"),
            "weight": (f"{lead}n", f"{lead}k", "nk"),
        }
        lhs, rhs, out = letters[which]
        found = _contractions[rank, which] = tensor.contract.operator(lhs=lhs, rhs=rhs, out=out)
    return found


def _emit_contraction(which: str, rank: int, a: Any, b: Any) -> Any:
    return a.builder.emit(_contraction(rank, which), (a, b))


def linear_without_bias(rank: int) -> Operator:
    """The operator of `F.linear(x, w)` for inputs of `rank` dimensions: a plain contraction."""
    return _contraction(rank, "forward")


def _decompose_linear(op: Any) -> Any:
    x, w, b = op.operands
    return arith.add(_emit_contraction("forward", len(x.type.shape), x, w), b)


def _linear_bias_vjp(op: Any, g: Any) -> Any:
    rank = len(g.type.shape)
    return g.builder.emit(_sum_to_last(rank), (g,)) if rank > 1 else g


@cache
def _sum_to_last(rank: int) -> Operator:
    """The sum over all dimensions but the last."""
    return tensor.reduce_sum.operator(dims=tuple(range(rank - 1)))


linear: Declaration = Declaration(
    "nn.linear",
    _infer_linear,
    traits=(Trait.PURE, Trait.COMPOSITE, Trait.EXPENSIVE),
    vjp=(
        lambda op, g: _emit_contraction("input", len(g.type.shape), g, op.operands[1]),
        lambda op, g: _emit_contraction("weight", len(g.type.shape), g, op.operands[0]),
        _linear_bias_vjp,
    ),
    reference=reference_of(_decompose_linear),
    decompose=_decompose_linear,
    gradient_name="Addmm",
    example=example("tensor<2x3xf32>", "tensor<4x3xf32>", "tensor<4xf32>"),
    doc="x @ w.T + b over the last dimension of x",
)

# -- dropout, embedding ------------------------------------------------------------


def _infer_dropout(attributes: Attributes, x: TensorType, mask: TensorType) -> TensorType:
    if mask.shape != x.shape or mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"nn.dropout: expected a bool mask of shape {list(x.shape)} but got {mask}")
    return x


def _kept_scale(op: Any) -> float:
    """1 / (1 - p), rounded as torch rounds it: both steps in the element type."""
    number_type = op.operands[0].type.dtype.numpy.type
    return float(number_type(1) / number_type(1.0 - op.attributes.p))


def _dropout_noise(op: Any) -> Any:
    x, mask = op.operands
    return arith.mul(arith.cast(mask, dtype=x.type.dtype), _kept_scale(op))


dropout: Declaration = composite(
    "nn.dropout",
    _infer_dropout,
    lambda op: arith.mul(op.operands[0], _dropout_noise(op)),
    gradient=lambda op, g, operand: arith.mul(g, _dropout_noise(op)),
    attributes=("p",),
    elementwise=True,
    rounds_once=False,
    gradient_name="Mul",
    example=example("tensor<2x3xf32>", "tensor<2x3xi1>", p=0.5),
    doc="x / (1 - p) where the mask keeps it, 0 elsewhere",
)


def _infer_embedding(attributes: Attributes, weight: TensorType, index: TensorType) -> TensorType:
    if weight.rank != 2:
        raise RuntimeError("'weight' must be 2-D")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{index.dtype.title}Tensor instead (while checking arguments for embedding)"
        )
    return TensorType(weight.dtype, (*index.shape, weight.shape[1]))


def checked_index(index: Any) -> Any:
    """The index as i64, with every negative number moved out of range, so that a gather raises for it."""
    if index.type.dtype is not dtypes.int64:
        index = arith.cast(index, dtype=dtypes.int64)
    return refuse(arith.compare(index, 0, predicate="ge"), index, index)


def _embedding_gradient(op: Any, g: Any, operand: int) -> Any:
    weight, index = op.operands
    padding = op.attributes.padding
    if padding >= 0:
        rank = len(index.type.shape)
        kept = tensor.reshape(arith.compare(index, number(padding, index), predicate="ne"), shape=(*index.type.shape, 1))
        assert len(g.type.shape) == rank + 1
        g = arith.select(kept, g, number(0, g))
    return tensor.scatter_add(zeros_like(weight), checked_index(index), g, fault="self")


embedding: Declaration = composite(
    "nn.embedding",
    _infer_embedding,
    lambda op: tensor.gather(op.operands[0], checked_index(op.operands[1]), fault="self"),
    gradient=_embedding_gradient,
    attributes=("padding",),
    defaults={"padding": -1},
    rounds_once=False,
    gradient_name="Embedding",
    example=example("tensor<5x3xf32>", "tensor<4xi64>"),
    doc="rows of the weight; no gradient for row `padding` (-1: none)",
)

__all__ = [
    "checked_index",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "leaky_relu",
    "linear",
    "linear_without_bias",
    "log_softmax",
    "relu",
    "silu",
    "softmax",
    "softplus",
]


scaled_gradient: Declaration = Declaration(
    "nn.scaled_gradient",
    lambda attributes, x, factor: x,
    traits=(Trait.PURE, Trait.COMPOSITE),
    vjp=(lambda op, g: arith.mul(g, op.operands[1]), None),
    batch=lambda op: op.again((op.leading()[0], op.aligned(len(op.types[0].shape))[1])),
    reference=lambda attributes, x, factor: x,
    decompose=lambda op: op.operands[0],
    gradient_name="Embedding",
    example=example("tensor<2x3xf32>", "tensor<2x1xf32>"),
    doc="the first operand, whose cotangent is multiplied by the second, which broadcasts to it",
)
