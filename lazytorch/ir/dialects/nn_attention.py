"""`nn`: scaled dot-product attention, and what its derivative needs.

The operations are defined by decompositions that hold a whole matrix of scores; a target whose kernels go tile by tile
(codegen/schedules/attention.py on CPUs) never decomposes them. Rows of queries meet keys through

    scores = (query * scale) key^T + mask        (-inf where a bool mask is false, and after the diagonal if `causal`)
    weights = softmax(scores), 0 in a row that attends to nothing
    out = weights value                          logsumexp = log(sum(exp(scores)))

and, with delta = sum(cotangent * out), the cotangents are those of Dao, "FlashAttention-2" (2023):

    weights = exp(scores - logsumexp)            dvalue = weights^T cotangent
    dscores = weights (cotangent value^T - delta)
    dquery = dscores key * scale                 dkey = dscores^T (query * scale)

f16 and bf16 are computed in f32, scores and weights included, and rounded once.
"""

from __future__ import annotations

import math as python_math
from collections.abc import Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Attributes, Declaration, Trait, example
from lazytorch.ir.dialects import arith, math, tensor
from lazytorch.ir.dialects.composite import OperationView, conform, derivative, number, reference_of
from lazytorch.ir.dialects.tensor_transfer import positions
from lazytorch.ir.types import TensorType

_LETTERS = "abcdefghij"
_TRAITS = (Trait.PURE, Trait.TILED, Trait.EXPENSIVE)
MASK = 3
"""The position of the mask among the operands of attention."""


def wide(dtype: DType) -> DType:
    """What attention on elements of a type is computed in: f32 at least."""
    return dtypes.float32 if dtype.itemsize == 2 else dtype


def row_bytes(operation: Any) -> list[int]:
    """How long the rows of queries, keys, values and cotangents are in the type that attention is computed in."""
    types = [operand.type for operand in operation.operands]
    count = {"nn.attention": 3, "nn.attention_logsumexp": 2, "nn.attention_backward": 4}[operation.operator.declaration.name]
    return [type.shape[-1] * wide(type.dtype).itemsize for type in types[:count]]


def _check(q: TensorType, k: TensorType, v: TensorType, masks: Sequence[TensorType]) -> None:
    """Raise torch's RuntimeError for operands that do not fit together."""
    if min(q.rank, k.rank, v.rank) < 2:
        raise RuntimeError(
            f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim(): {q.rank}, "
            f"key.dim(): {k.rank} and value.dim(): {v.rank} instead."
        )
    if q.shape[:-2] != k.shape[:-2] or k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1]:
        raise RuntimeError(
            f"scaled_dot_product_attention: shapes {list(q.shape)}, {list(k.shape)} and {list(v.shape)} do not fit"
        )
    if not q.dtype is k.dtype is v.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{q.dtype.title.lower()} key.dtype: {k.dtype.title.lower()} and value.dtype: {v.dtype.title.lower()} instead."
        )
    for mask in masks:
        scores = (*q.shape[:-1], k.shape[-2])
        if arith.broadcast_shapes(mask.shape, scores) != scores:
            raise RuntimeError(f"attention mask of shape {list(mask.shape)} does not broadcast to {list(scores)}")
        if mask.dtype not in (dtypes.bool_, dtypes.float32, q.dtype):
            raise RuntimeError(f"expected scalar type {q.dtype.title} but found {mask.dtype.title}")


def _infer_attention(attributes: Attributes, q: TensorType, k: TensorType, v: TensorType, *mask: TensorType) -> TensorType:
    _check(q, k, v, mask)
    return TensorType(q.dtype, (*q.shape[:-1], v.shape[-1]))


def _infer_logsumexp(attributes: Attributes, q: TensorType, k: TensorType, *mask: TensorType) -> TensorType:
    _check(q, k, k, mask)
    return TensorType(wide(q.dtype), q.shape[:-1])


# -- the decompositions ------------------------------------------------------------


def _letters(x: Any) -> str:
    return _LETTERS[: len(x.type.shape) - 2]


def _wide(x: Any) -> Any:
    dtype = wide(x.type.dtype)
    return x if x.type.dtype is dtype else arith.cast(x, dtype=dtype)


def _scaled(q: Any, attributes: Any) -> Any:
    return arith.mul(_wide(q), float(attributes.scale))


def _scores(attributes: Any, q: Any, k: Any, *masks: Any) -> Any:
    """Scores of all pairs, masked."""
    lead = _letters(q)
    scores = tensor.contract(_scaled(q, attributes), _wide(k), lhs=f"{lead}lk", rhs=f"{lead}sk", out=f"{lead}ls")
    if attributes.causal:
        rows, columns = scores.type.shape[-2:]
        row = tensor.reshape(positions(scores, rows, dtypes.int64), shape=(rows, 1))
        column = positions(scores, columns, dtypes.int64)
        scores = arith.select(arith.compare(column, row, predicate="le"), scores, number(-python_math.inf, scores))
    for mask in masks:
        if mask.type.dtype is dtypes.bool_:
            scores = arith.select(mask, scores, number(-python_math.inf, scores))
        else:
            scores = arith.add(scores, _wide(mask))
    return scores


def _exponentials(scores: Any) -> tuple[Any, Any, Any]:
    """exp(scores - top), their sums and top, the largest score of a row: 0 in a row that is masked entirely."""
    dim = len(scores.type.shape) - 1

    def along(x: Any) -> Any:
        return tensor.unreduce(x, scores.type.shape, (dim,))

    top = along(tensor.reduce_max(scores, dims=(dim,)))
    top = tensor.detach(arith.select(_is_masked(top), number(0, top), top))
    e = math.exp(arith.sub(scores, top))
    return e, along(tensor.reduce_sum(e, dims=(dim,))), top


def _is_masked(largest: Any) -> Any:
    return arith.compare(largest, number(-python_math.inf, largest), predicate="eq")


def _attention(op: Any) -> Any:
    q, k, v, *masks = op.operands
    lead = _letters(q)
    e, total, _ = _exponentials(_scores(op.attributes, q, k, *masks))
    nothing = arith.compare(total, number(0, total), predicate="eq")
    weights = arith.div(e, arith.select(nothing, number(1, total), total))
    out = tensor.contract(weights, _wide(v), lhs=f"{lead}ls", rhs=f"{lead}sv", out=f"{lead}lv")
    return conform(out, _infer_attention(op.attributes, *[x.type for x in op.operands]))


def _logsumexp(op: Any) -> Any:
    _, total, top = _exponentials(_scores(op.attributes, *op.operands))
    found = arith.add(top, math.log(total))
    return tensor.reshape(found, shape=found.type.shape[:-1])


def _dscores(op: Any) -> tuple[Any, Any]:
    """The weights and the cotangent of the scores."""
    g, q, k, v, logsumexp, delta, *masks = op.operands
    lead = _letters(q)

    def along(x: Any) -> Any:
        return tensor.reshape(x, shape=(*x.type.shape, 1))

    scores = _scores(op.attributes, q, k, *masks)
    # A row that attends to nothing has the sum -inf; its weights are 0.
    total = arith.select(_is_masked(logsumexp), number(python_math.inf, logsumexp), logsumexp)
    weights = math.exp(arith.sub(scores, along(total)))
    dweights = tensor.contract(_wide(g), _wide(v), lhs=f"{lead}lv", rhs=f"{lead}sv", out=f"{lead}ls")
    return weights, arith.mul(weights, arith.sub(dweights, along(delta)))


def _backward(op: Any) -> Any:
    """The cotangent of operand `operand` of attention."""
    g, q, k, v = op.operands[:4]
    lead = _letters(q)
    weights, dscores = _dscores(op)
    if op.attributes.operand == 0:
        made = tensor.contract(dscores, _wide(k), lhs=f"{lead}ls", rhs=f"{lead}sk", out=f"{lead}lk")
        return conform(arith.mul(made, float(op.attributes.scale)), q.type)
    if op.attributes.operand == 1:
        made = tensor.contract(dscores, _scaled(q, op.attributes), lhs=f"{lead}ls", rhs=f"{lead}lk", out=f"{lead}sk")
        return conform(made, k.type)
    made = tensor.contract(weights, _wide(g), lhs=f"{lead}ls", rhs=f"{lead}lv", out=f"{lead}sv")
    return conform(made, v.type)


# -- derivatives and batches ------------------------------------------------------------


def _wants(operand: Any) -> bool:
    """Whether a cotangent is asked for: the operand is of floats, and a recorded one has a history."""
    return operand.type.dtype.kind == "f" and getattr(operand, "history", True) is not None


def _attention_vjp(op: Any, g: Any) -> Sequence[Any]:
    q, k, v, *masks = op.operands
    wanted = [position for position, operand in enumerate(op.operands) if _wants(operand)]
    if not wanted:
        return [None] * len(op.operands)
    options = op.attributes.as_dict()
    statistics = logsumexp(q, k, *masks, **options)
    out = op.result
    delta = tensor.reduce_sum(arith.mul(_wide(g), _wide(out)), dims=(len(out.type.shape) - 1,))
    made: list[Any] = [None] * len(op.operands)
    for position in wanted:
        if position == MASK:  # as large as the scores, so there is no better way
            view = OperationView((g, q, k, v, statistics, delta, *masks), op.attributes)
            made[position] = conform(_dscores(view)[1], masks[0].type)
        else:
            made[position] = attention_backward(g, q, k, v, statistics, delta, *masks, **options, operand=position)
    return made


def _by_decomposition(decompose: Any) -> Any:
    """The rule that differentiates a decomposition."""

    def vjp(op: Any, g: Any) -> Sequence[Any]:
        wanted = [_wants(operand) for operand in op.operands]
        return [derivative(decompose, op, g, position) if wants else None for position, wants in enumerate(wanted)]

    return vjp


def _batch(operands: int) -> Any:
    """The batch leads every operand; masks, which follow the first `operands`, may be the same for all."""

    def rule(op: Any) -> Any:
        rank = len(op.types[0].shape)
        return op.again((*op.leading()[:operands], *op.aligned(rank)[operands:]))

    return rule


attention: Declaration = Declaration(
    "nn.attention",
    _infer_attention,
    attributes=("scale", "causal"),
    defaults={"causal": False},
    traits=_TRAITS,
    vjp=_attention_vjp,
    reference=reference_of(_attention),
    decompose=_attention,
    batch=_batch(3),
    gradient_name="ScaledDotProductFlashAttentionForCpu",
    saves=(2,),
    example=example("tensor<2x4x3xf32>", "tensor<2x5x3xf32>", "tensor<2x5x3xf32>", scale=0.5),
    doc="query, key, value, optional mask: softmax(query key^T * scale + mask) value over the last two dimensions. The mask "
    "broadcasts to the scores: bool (true: attend) or added to them. `causal`: row i attends to columns up to i",
)

logsumexp: Declaration = Declaration(
    "nn.attention_logsumexp",
    _infer_logsumexp,
    attributes=("scale", "causal"),
    defaults={"causal": False},
    traits=_TRAITS,
    vjp=_by_decomposition(_logsumexp),
    reference=reference_of(_logsumexp),
    decompose=_logsumexp,
    batch=_batch(2),
    example=example("tensor<2x4x3xf32>", "tensor<2x5x3xf32>", scale=0.5),
    doc="query, key, optional mask: the logarithm of the sum of exp(scores) of every row of nn.attention, f32 at least; "
    "-inf for a row that attends to nothing",
)


def _infer_backward(attributes: Attributes, g: TensorType, *operands: TensorType) -> TensorType:
    q, k, v, logsumexp, delta, *masks = operands
    result = _infer_attention(attributes, q, k, v, *masks)
    if g is not result:
        raise RuntimeError(f"nn.attention_backward: the cotangent of {result} is {g}")
    rows = _infer_logsumexp(attributes, q, k, *masks)
    if logsumexp is not rows or delta is not rows:
        raise RuntimeError(f"nn.attention_backward: the statistics of rows are {logsumexp} and {delta}, not {rows}")
    if attributes.operand not in (0, 1, 2):
        raise RuntimeError(f"nn.attention_backward: there is no operand {attributes.operand}")
    wanted: int = attributes.operand
    return operands[wanted]


attention_backward: Declaration = Declaration(
    "nn.attention_backward",
    _infer_backward,
    attributes=("scale", "causal", "operand"),
    defaults={"causal": False},
    traits=_TRAITS,
    vjp=_by_decomposition(_backward),
    reference=reference_of(_backward),
    decompose=_backward,
    batch=_batch(6),
    gradient_name="ScaledDotProductFlashAttentionForCpuBackward",
    example=example(
        "tensor<2x4x3xf32>",
        "tensor<2x4x3xf32>",
        "tensor<2x5x3xf32>",
        "tensor<2x5x3xf32>",
        "tensor<2x4xf32>",
        "tensor<2x4xf32>",
        scale=0.5,
        operand=0,
    ),
    doc="cotangent of nn.attention, query, key, value, logsumexp, delta (sums of cotangent * result along rows), optional "
    "mask: the cotangent of operand `operand` of nn.attention",
)

__all__ = ["MASK", "attention", "attention_backward", "logsumexp", "row_bytes", "wide"]
