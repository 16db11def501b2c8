"""`nn`: losses. Every one has the attribute `reduction`: 'none', 'sum' or 'mean' (the sum divided by the count)."""

from __future__ import annotations

from typing import Any

from lazytorch import dtypes
from lazytorch.ir.declaration import Attributes, Declaration, example
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.composite import Gradient, composite, gradient_rounding_once, number, rounding_once
from lazytorch.ir.dialects.indirect import inside, refuse
from lazytorch.ir.dialects.nn import log_softmax, require_floating, shifted, sum_along
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType

# -- class indices ------------------------------------------------------------


def _class_dim(rank: int) -> int:
    return 0 if rank == 1 else 1


def _infer_class_loss(attributes: Attributes, x: TensorType, target: TensorType, *weight: TensorType) -> TensorType:
    require_floating("nll_loss_out_frame", x)
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.torch_name.capitalize()}")
    if x.rank == 0:
        raise RuntimeError("Expected a tensor of class scores, got a scalar")
    expected = () if x.rank == 1 else (x.shape[0], *x.shape[2:])
    if target.shape != expected:
        if x.rank > 1 and target.rank and x.shape[0] != target.shape[0]:
            raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({target.shape[0]}).")
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    classes = x.shape[_class_dim(x.rank)]
    if weight and weight[0].shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight[0].shape)}"
        )
    return TensorType(x.dtype, expected if attributes.reduction == "none" else ())


def _classes_last(x: Any) -> Any:
    """The scores with the class dimension moved to the end: one row of classes per target."""
    rank = len(x.type.shape)
    if rank <= 2:
        return x
    return tensor.permute(x, order=(0, *range(2, rank), 1))


def _classes_back(x: Any) -> Any:
    """The inverse of `_classes_last`."""
    rank = len(x.type.shape)
    if rank <= 2:
        return x
    return tensor.permute(x, order=(0, rank - 1, *range(1, rank - 1)))


class _Targets:
    """What both directions of a class-index loss need: which rows count, their weights, the divisor."""

    def __init__(self, op: Any, rows: Any) -> None:
        target = op.operands[1]
        if target.type.dtype is not dtypes.int64:
            target = arith.cast(target, dtype=dtypes.int64)
        self.rows = rows
        self.reduction = op.attributes.reduction
        self.weight = op.operands[2] if len(op.operands) == 3 else None
        self.classes = rows.type.shape[-1]
        self.shape = target.type.shape
        self.valid = arith.compare(target, number(op.attributes.ignore_index, target), predicate="ne")
        self.index = arith.select(self.valid, target, number(0, target))

    def row_weight(self) -> Any:
        """1 or the class's weight, 0 for an ignored row."""
        if self.weight is None:
            return arith.cast(self.valid, dtype=self.rows.type.dtype)
        return arith.select(
            self.valid,
            tensor.gather(self.weight, refuse(inside(self.index, self.classes), self.index, self.index), fault="target"),
            number(0, self.weight),
        )

    def picked(self, x: Any) -> Any:
        """x[row, target of the row]. A target that is no class leads out of range, so that the gather raises."""
        count = x.type.numel // max(self.classes, 1)
        flat = tensor.reshape(x, shape=(x.type.numel,))
        row = tensor.reshape(positions(x, count, dtypes.int64), shape=self.shape)
        place = arith.add(arith.mul(row, number(self.classes, row)), self.index)
        return tensor.gather(flat, refuse(inside(self.index, self.classes), place, self.index), fault="target")

    def one_hot(self) -> Any:
        """[rows, classes]: true at each row's class."""
        classes = positions(self.rows, self.classes, dtypes.int64)
        return arith.compare(tensor.reshape(self.index, shape=(*self.shape, 1)), classes, predicate="eq")

    def reduce(self, losses: Any, divisor: Any) -> Any:
        """The losses of the rows, summed and divided as the reduction says."""
        if self.reduction == "none":
            return losses
        total = _sum_all(losses)
        return total if self.reduction == "sum" else arith.div(total, divisor())

    def share(self, g: Any, divisor: Any) -> Any:
        """The cotangent of each row's loss."""
        return arith.div(g, divisor()) if self.reduction == "mean" else g


def _sum_all(x: Any) -> Any:
    rank = len(x.type.shape)
    return tensor.reduce_sum(x, dims=tuple(range(rank))) if rank else x


def _per_class(x: Any) -> Any:
    """A number per row, to broadcast against [rows, classes]."""
    return tensor.reshape(x, shape=(*x.type.shape, 1))


def _nll(op: Any, log_probabilities: Any) -> Any:
    targets = _Targets(op, log_probabilities)
    weight = targets.row_weight()
    picked = targets.picked(log_probabilities)
    losses = arith.select(targets.valid, arith.mul(arith.neg(picked), weight), number(0, picked))
    return targets.reduce(losses, lambda: _sum_all(weight))


def _nll_gradient(op: Any, g: Any, operand: int) -> Any:
    targets = _Targets(op, _classes_last(op.operands[0]))
    weight = targets.row_weight()
    slope = arith.neg(arith.mul(targets.share(g, lambda: _sum_all(weight)), weight))
    return _classes_back(arith.select(targets.one_hot(), _per_class(slope), number(0, slope)))


nll_loss: Declaration = composite(
    "nn.nll_loss",
    _infer_class_loss,
    lambda op: _nll(op, _classes_last(op.operands[0])),
    gradient=_nll_gradient,
    attributes=("reduction", "ignore_index"),
    defaults={"reduction": "mean", "ignore_index": -100},
    gradient_name="NllLoss",
    saves=(0, 1, 2),
    example=example("tensor<4x3xf32>", "tensor<4xi64>"),
    doc="-x[i, target[i]] * weight[target[i]] over log probabilities [N, C, ...]; mean divides by the weights' sum; a "
    "target that is no class raises IndexError at run time",
)


def _log_probabilities(rows: Any) -> Any:
    low = shifted(rows, len(rows.type.shape) - 1)
    return arith.sub(low, math.log(sum_along(math.exp(low), len(rows.type.shape) - 1)))


def _cross_entropy(op: Any) -> Any:
    logs = _log_probabilities(_classes_last(op.operands[0]))
    loss = _nll(op, logs)
    smoothing = op.attributes.label_smoothing
    if smoothing == 0.0:
        return loss
    targets = _Targets(op, logs)
    weighted = logs if targets.weight is None else arith.mul(logs, targets.weight)
    smooth = arith.neg(tensor.reduce_sum(weighted, dims=(len(logs.type.shape) - 1,)))
    smooth = targets.reduce(arith.select(targets.valid, smooth, number(0, smooth)), lambda: _sum_all(targets.row_weight()))
    return arith.add(arith.mul(loss, 1.0 - smoothing), arith.mul(smooth, smoothing / targets.classes))


def _cross_entropy_gradient(op: Any, g: Any, operand: int) -> Any:
    """softmax minus one-hot, times each row's share; with label smoothing the derivative is derived."""
    if op.attributes.label_smoothing != 0.0:
        return NotImplemented
    rows = _classes_last(op.operands[0])
    targets = _Targets(op, rows)
    weight = targets.row_weight()
    slope = _per_class(arith.mul(targets.share(g, lambda: _sum_all(weight)), weight))
    dim = len(rows.type.shape) - 1
    e = math.exp(shifted(rows, dim))
    probability = arith.div(e, sum_along(e, dim))
    hit = arith.select(targets.one_hot(), arith.sub(probability, 1.0), probability)
    return _classes_back(arith.mul(hit, slope))


cross_entropy: Declaration = composite(
    "nn.cross_entropy",
    _infer_class_loss,
    _cross_entropy,
    gradient=_cross_entropy_gradient,
    attributes=("reduction", "ignore_index", "label_smoothing"),
    defaults={"reduction": "mean", "ignore_index": -100, "label_smoothing": 0.0},
    gradient_name="NllLoss",
    saves=(1, 2),
    example=example("tensor<4x3xf32>", "tensor<4xi64>"),
    doc="nll_loss of log_softmax over class scores [N, C, ...] and class indices [N, ...]",
)

# -- class probabilities ------------------------------------------------------------


def _infer_probability_loss(attributes: Attributes, x: TensorType, target: TensorType, *weight: TensorType) -> TensorType:
    if x.shape != target.shape:
        raise RuntimeError(f"Expected target size {list(x.shape)}, got {list(target.shape)}")
    if x.dtype is not target.dtype:
        raise RuntimeError(f"expected a target of {x.dtype} but got {target.dtype}")
    dim = _class_dim(x.rank)
    rest = tensor.reduced_shape(x.shape, (dim,))
    return TensorType(x.dtype, rest if attributes.reduction == "none" else ())


def _cross_entropy_probabilities(op: Any) -> Any:
    x, target = op.operands[:2]
    shape = x.type.shape
    dim = _class_dim(len(shape))
    classes = shape[dim]
    smoothing = op.attributes.label_smoothing
    if smoothing:
        target = arith.add(arith.mul(target, 1.0 - smoothing), smoothing / classes)
    terms = arith.mul(log_softmax(x, dim=dim), target)
    if len(op.operands) == 3:
        weight = tensor.reshape(op.operands[2], shape=(classes,) + (1,) * (len(shape) - 1 - dim))
        terms = arith.mul(terms, weight)
    if op.attributes.reduction == "none":
        return arith.neg(tensor.reduce_sum(terms, dims=(dim,)))
    total = arith.neg(_sum_all(terms))
    return total if op.attributes.reduction == "sum" else arith.div(total, float(x.type.numel // classes))


cross_entropy_probabilities: Declaration = composite(
    "nn.cross_entropy_probabilities",
    _infer_probability_loss,
    _cross_entropy_probabilities,
    differentiable=(0, 1),
    attributes=("reduction", "label_smoothing"),
    defaults={"reduction": "mean", "label_smoothing": 0.0},
    gradient_name="Div",
    saves=(1, 2),
    doc="-sum over classes of target * log_softmax(x) with class probabilities as targets",
)

# -- pairwise losses ------------------------------------------------------------


def _infer_pairwise(attributes: Attributes, *types: TensorType) -> TensorType:
    for other in types[1:]:
        if other.dtype is not types[0].dtype:
            raise RuntimeError(f"Found dtype {other.dtype} but expected {types[0].dtype}")
    shape = arith.broadcast_shapes(types[0].shape, types[1].shape)
    for other in types[2:]:
        shape = arith.broadcast_shapes(shape, other.shape)
    return TensorType(types[0].dtype, shape if attributes.reduction == "none" else ())


def _reduced(op: Any, losses: Any) -> Any:
    """The elementwise losses, summed and divided as the attribute says; 16-bit ones in float32, rounded at the end."""
    reduction, dtype = op.attributes.reduction, losses.type.dtype
    if reduction == "none":
        return losses
    total = _sum_all(losses if dtype.opmath is dtype else arith.cast(losses, dtype=dtype.opmath))
    if reduction == "mean":
        total = arith.div(total, float(losses.type.numel))
    return total if dtype.opmath is dtype else arith.cast(total, dtype=dtype)


def _pairwise(
    name: str,
    losses: Any,
    gradient_name: str,
    doc: str,
    kernel: str = "",
    gradient: Gradient | None = None,
    **options: Any,
) -> Declaration:
    """Declare a loss of elements of prediction and target (and weights): `losses(op)` gives them unreduced.

    kernel: torch's name in the error for integers; without one they are taken.
    """

    def infer(attributes: Attributes, *types: TensorType) -> TensorType:
        if kernel:
            require_floating(kernel, types[0])
        return _infer_pairwise(attributes, *types)

    elements = rounding_once(losses)
    return composite(
        name,
        infer,
        lambda op: _reduced(op, elements(op)),
        gradient=None if gradient is None else gradient_rounding_once(gradient),
        rounds_once=False,
        attributes=("reduction", *options.pop("attributes", ())),
        defaults={"reduction": "mean", **options.pop("defaults", {})},
        gradient_name=gradient_name,
        doc=doc,
        **options,
    )


def _difference(op: Any) -> Any:
    return arith.sub(op.operands[0], op.operands[1])


def _squared(op: Any) -> Any:
    d = _difference(op)
    return arith.mul(d, d)


def _mse_gradient(op: Any, g: Any, operand: int) -> Any:
    """2 (x - y) g / n, as torch forms it: first the factor, then the product."""
    d = _difference(op)
    factor = 2.0 / d.type.numel if op.attributes.reduction == "mean" and d.type.numel else 2.0
    return arith.mul(arith.mul(d if operand == 0 else arith.neg(d), factor), g)


mse_loss: Declaration = _pairwise(
    "nn.mse_loss",
    _squared,
    "MseLoss",
    "(x - y)^2",
    kernel="mse_cpu",
    differentiable=(0, 1),
    gradient=_mse_gradient,
)
l1_loss: Declaration = _pairwise(
    "nn.l1_loss", lambda op: arith.abs_(_difference(op)), "L1Loss", "|x - y|", differentiable=(0, 1), saves=()
)


def _smooth_l1(op: Any) -> Any:
    z, beta = arith.abs_(_difference(op)), op.attributes.beta
    if beta == 0.0:
        return z
    quadratic = arith.div(arith.mul(arith.mul(z, 0.5), z), beta)
    return arith.select(arith.compare(z, beta, predicate="lt"), quadratic, arith.sub(z, 0.5 * beta))


smooth_l1_loss: Declaration = _pairwise(
    "nn.smooth_l1_loss",
    _smooth_l1,
    "SmoothL1Loss",
    "0.5 d^2 / beta where |d| < beta, else |d| - beta / 2",
    kernel="smooth_l1_cpu",
    differentiable=(0, 1),
    attributes=("beta",),
    defaults={"beta": 1.0},
)


def _huber(op: Any) -> Any:
    z, delta = arith.abs_(_difference(op)), op.attributes.delta
    quadratic = arith.mul(arith.mul(z, 0.5), z)
    linear = arith.mul(arith.sub(z, 0.5 * delta), delta)
    return arith.select(arith.compare(z, delta, predicate="le"), quadratic, linear)


huber_loss: Declaration = _pairwise(
    "nn.huber_loss",
    _huber,
    "HuberLoss",
    "0.5 d^2 where |d| <= delta, else delta (|d| - delta / 2)",
    kernel="huber_cpu",
    differentiable=(0, 1),
    attributes=("delta",),
    defaults={"delta": 1.0},
)


def _binary_cross_entropy(op: Any) -> Any:
    x, y = op.operands[:2]
    positive = arith.maximum(math.log(x), -100.0)
    negative = arith.maximum(math.log1p(arith.neg(x)), -100.0)
    loss = arith.sub(arith.mul(arith.sub(y, 1.0), negative), arith.mul(y, positive))
    return arith.mul(loss, op.operands[2]) if len(op.operands) == 3 else loss


def _binary_cross_entropy_gradient(op: Any, g: Any, operand: int) -> Any:
    """(x - y) / max((1 - x) x, 1e-12), torch's rule; with respect to the target it is derived."""
    if operand != 0:
        return NotImplemented
    x, y = op.operands[:2]
    spread = arith.maximum(arith.mul(arith.sub(1.0, x), x), 1e-12)
    slope = arith.div(arith.mul(g, arith.sub(x, y)), spread)
    if len(op.operands) == 3:
        slope = arith.mul(slope, op.operands[2])
    return arith.div(slope, float(x.type.numel)) if op.attributes.reduction == "mean" else slope


bce_loss: Declaration = _pairwise(
    "nn.bce_loss",
    _binary_cross_entropy,
    "BinaryCrossEntropy",
    "-(y log x + (1 - y) log(1 - x)), logarithms not below -100; an optional third operand weights the elements",
    kernel="binary_cross_entropy",
    differentiable=(0, 1),
    gradient=_binary_cross_entropy_gradient,
)


def _logits_terms(op: Any) -> tuple[Any, Any, Any, Any]:
    """x, y, element weight or None, positive weight or None."""
    rest = list(op.operands[2:])
    weight = rest.pop(0) if op.attributes.weighted else None
    return (*op.operands[:2], weight, rest[0] if rest else None)


def _negative_log_sigmoid(x: Any) -> Any:
    """log(1 + exp(-x)) = max(-x, 0) + log1p(exp(-|x|))."""
    return arith.add(arith.maximum(arith.neg(x), 0.0), math.log1p(math.exp(arith.neg(arith.abs_(x)))))


def _positive_factor(y: Any, positive: Any) -> Any:
    return arith.add(arith.mul(arith.sub(positive, 1.0), y), 1.0)


def _bce_with_logits(op: Any) -> Any:
    x, y, weight, positive = _logits_terms(op)
    soft = _negative_log_sigmoid(x)
    if positive is not None:
        soft = arith.mul(_positive_factor(y, positive), soft)
    loss = arith.add(arith.mul(arith.sub(1.0, y), x), soft)
    return arith.mul(loss, weight) if weight is not None else loss


def _bce_with_logits_gradient(op: Any, g: Any, operand: int) -> Any:
    """sigmoid(x) - y, with the positive weight t = 1 + (p - 1) y: (1 - y) - t (1 - sigmoid(x))."""
    if operand != 0:
        return NotImplemented
    x, y, weight, positive = _logits_terms(op)
    if positive is None:
        slope = arith.mul(arith.sub(math.sigmoid(x), y), g)
    else:
        falling = arith.mul(_positive_factor(y, positive), arith.sub(1.0, math.sigmoid(x)))
        slope = arith.mul(arith.sub(arith.sub(1.0, y), falling), g)
    if weight is not None:
        slope = arith.mul(slope, weight)
    return arith.div(slope, float(slope.type.numel)) if op.attributes.reduction == "mean" else slope


bce_with_logits_loss: Declaration = _pairwise(
    "nn.bce_with_logits_loss",
    _bce_with_logits,
    "BinaryCrossEntropyWithLogits",
    "binary cross entropy of sigmoid(x), stable; further operands: element weights (if `weighted`), positive weights",
    kernel="log_sigmoid_cpu",
    differentiable=(0, 1),
    gradient=_bce_with_logits_gradient,
    attributes=("weighted",),
    defaults={"weighted": False},
)
