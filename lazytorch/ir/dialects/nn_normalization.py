"""`nn`: layer norm and batch norm. Variances are of the centred elements (two passes), divided by the count."""

from __future__ import annotations

from typing import Any

from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.dialects.composite import composite
from lazytorch.ir.dialects.nn import require_floating
from lazytorch.ir.types import TensorType


class _Moments:
    """Mean, centred elements and 1 / standard deviation of x over `dims`, the dimensions kept with size 1."""

    def __init__(self, x: Any, dims: tuple[int, ...], eps: float) -> None:
        shape = x.type.shape
        self.count = 1
        for dim in dims:
            self.count *= shape[dim]
        self.dims = dims
        self.shape = shape
        self.mean = arith.div(self.total(x), float(self.count))
        self.centred = arith.sub(x, self.mean)
        self.squares = self.total(arith.mul(self.centred, self.centred))
        variance = arith.div(self.squares, float(self.count))
        self.scale = arith.div(1.0, arith.sqrt(arith.add(variance, eps)))
        self.normalised = arith.mul(self.centred, self.scale)

    def total(self, x: Any) -> Any:
        """The sum over the dimensions."""
        return tensor.unreduce(tensor.reduce_sum(x, dims=self.dims), self.shape, self.dims)

    def input_gradient(self, g: Any) -> Any:
        """The cotangent of x from that of the normalised elements: what is along the mean and along x is taken out."""
        along_mean = arith.div(self.total(g), float(self.count))
        along_x = arith.div(self.total(arith.mul(g, self.normalised)), float(self.count))
        rest = arith.sub(arith.sub(g, along_mean), arith.mul(self.normalised, along_x))
        return arith.mul(rest, self.scale)


# -- layer norm ------------------------------------------------------------


def _infer_layer_norm(attributes: Attributes, x: TensorType, *affine: TensorType) -> TensorType:
    shape = attributes.shape
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    require_floating("LayerNormKernelImpl", x)
    if x.shape[x.rank - len(shape) :] != shape or len(shape) > x.rank:
        wanted = "".join(f", {size}" for size in shape)
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{wanted}], but got input of "
            f"size{list(x.shape)}"
        )
    for other in affine:
        if other.dtype.kind != "f":
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {x.dtype.title}")
        if other.shape != shape:
            raise RuntimeError(
                f"Expected weight to be of same shape as normalized_shape, but got weight of shape {list(other.shape)} "
                f"and normalized_shape = {list(shape)}"
            )
    return x


def _layer_moments(op: Any) -> _Moments:
    x = op.operands[0]
    rank = len(x.type.shape)
    return _Moments(x, tuple(range(rank - len(op.attributes.shape), rank)), op.attributes.eps)


def _layer_norm(op: Any) -> Any:
    out = _layer_moments(op).normalised
    if len(op.operands) > 1:
        out = arith.mul(out, op.operands[1])
    return arith.add(out, op.operands[2]) if len(op.operands) > 2 else out


def _layer_norm_gradient(op: Any, g: Any, operand: int) -> Any:
    lead = tuple(range(len(g.type.shape) - len(op.attributes.shape)))
    if operand == 2:
        return tensor.reduce_sum(g, dims=lead) if lead else g
    moments = _layer_moments(op)
    if operand == 1:
        part = arith.mul(g, moments.normalised)
        return tensor.reduce_sum(part, dims=lead) if lead else part
    return moments.input_gradient(arith.mul(g, op.operands[1]) if len(op.operands) > 1 else g)


layer_norm: Declaration = composite(
    "nn.layer_norm",
    _infer_layer_norm,
    _layer_norm,
    differentiable=(0, 1, 2),
    gradient=_layer_norm_gradient,
    attributes=("shape", "eps"),
    gradient_name="NativeLayerNorm",
    example=example("tensor<2x3xf32>", "tensor<3xf32>", "tensor<3xf32>", shape=(3,), eps=1e-05),
    doc="(x - mean) / sqrt(variance + eps) over the trailing dimensions `shape`; optional operands: weight, bias",
)

# -- batch norm ------------------------------------------------------------


def _require_channels(x: TensorType, affine: tuple[TensorType, ...]) -> None:
    if x.rank < 2:
        raise RuntimeError(f"batch_norm: expected at least 2 dimensions but got {list(x.shape)}")
    for name, other in zip(("weight", "bias"), affine, strict=False):
        if other.shape != (x.shape[1],):
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {other.numel}")


def _infer_batch_norm(attributes: Attributes, x: TensorType, *affine: TensorType) -> TensorType:
    _require_channels(x, affine)
    return x


def _channel(v: Any, like: Any) -> Any:
    """A vector over channels, to broadcast against [N, C, ...]."""
    return tensor.reshape(v, shape=(v.type.shape[0],) + (1,) * (len(like.type.shape) - 2))


def _batch_dims(x: Any) -> tuple[int, ...]:
    return (0, *range(2, len(x.type.shape)))


def _batch_norm(op: Any) -> Any:
    x = op.operands[0]
    out = _Moments(x, _batch_dims(x), op.attributes.eps).normalised
    if len(op.operands) > 1:
        out = arith.mul(out, _channel(op.operands[1], x))
    return arith.add(out, _channel(op.operands[2], x)) if len(op.operands) > 2 else out


def _batch_norm_gradient(op: Any, g: Any, operand: int) -> Any:
    x = op.operands[0]
    dims = _batch_dims(x)
    if operand == 2:
        return tensor.reduce_sum(g, dims=dims)
    moments = _Moments(x, dims, op.attributes.eps)
    if operand == 1:
        return tensor.reduce_sum(arith.mul(g, moments.normalised), dims=dims)
    return moments.input_gradient(arith.mul(g, _channel(op.operands[1], x)) if len(op.operands) > 1 else g)


batch_norm: Declaration = composite(
    "nn.batch_norm",
    _infer_batch_norm,
    _batch_norm,
    differentiable=(0, 1, 2),
    gradient=_batch_norm_gradient,
    attributes=("eps",),
    gradient_name="NativeBatchNorm",
    example=example("tensor<4x3xf32>", "tensor<3xf32>", "tensor<3xf32>", eps=1e-05),
    doc="each channel (dimension 1) normalised by the batch's own mean and variance; optional operands: weight, bias",
)


def _infer_statistic(attributes: Attributes, x: TensorType) -> TensorType:
    _require_channels(x, ())
    return TensorType(x.dtype, (x.shape[1],))


def _batch_mean(op: Any) -> Any:
    x = op.operands[0]
    return tensor.reshape(_Moments(x, _batch_dims(x), 0.0).mean, shape=(x.type.shape[1],))


def _batch_variance(op: Any) -> Any:
    x = op.operands[0]
    moments = _Moments(x, _batch_dims(x), 0.0)
    variance = arith.div(moments.squares, float(moments.count - 1))
    return tensor.reshape(variance, shape=(x.type.shape[1],))


batch_mean: Declaration = composite(
    "nn.batch_mean", _infer_statistic, _batch_mean, doc="mean of each channel of [N, C, ...]"
)
batch_variance: Declaration = composite(
    "nn.batch_variance", _infer_statistic, _batch_variance, doc="unbiased variance of each channel of [N, C, ...]"
)
moving_average: Declaration = composite(
    "nn.moving_average",
    lambda attributes, running, batch: running,
    lambda op: arith.add(
        arith.mul(op.operands[1], op.attributes.momentum), arith.mul(op.operands[0], 1.0 - op.attributes.momentum)
    ),
    differentiable=(0, 1),
    attributes=("momentum",),
    elementwise=True,
    example=example("tensor<3xf32>", "tensor<3xf32>", momentum=0.1),
    doc="momentum * batch + (1 - momentum) * running",
)


def _infer_batch_norm_with(
    attributes: Attributes, x: TensorType, mean: TensorType, variance: TensorType, *affine: TensorType
) -> TensorType:
    _require_channels(x, affine)
    for name, other in (("running_mean", mean), ("running_var", variance)):
        if other.shape != (x.shape[1],):
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {other.numel}")
    return x


def _batch_norm_with(op: Any) -> Any:
    """x * alpha + beta with alpha = weight / sqrt(variance + eps), beta = bias - mean * alpha, as torch's CPU code."""
    x, mean, variance = op.operands[:3]
    alpha = arith.div(1.0, arith.sqrt(arith.add(variance, op.attributes.eps)))
    if len(op.operands) > 3:
        alpha = arith.mul(alpha, op.operands[3])
    shift = arith.neg(arith.mul(mean, alpha))
    if len(op.operands) > 4:
        shift = arith.add(shift, op.operands[4])
    return arith.add(arith.mul(x, _channel(alpha, x)), _channel(shift, x))


batch_norm_with: Declaration = composite(
    "nn.batch_norm_with",
    _infer_batch_norm_with,
    _batch_norm_with,
    differentiable=(0, 1, 2, 3, 4),
    attributes=("eps",),
    gradient_name="NativeBatchNorm",
    example=example("tensor<4x3xf32>", "tensor<3xf32>", "tensor<3xf32>", eps=1e-05),
    doc="each channel normalised by a given mean and variance (evaluation); optional operands: weight, bias",
)
