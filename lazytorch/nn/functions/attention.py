"""Attention: the scaled dot product, and the multi-head layer's function (torch.nn.functional)."""

from __future__ import annotations

import math
from typing import Any

from lazytorch import dtypes
from lazytorch.ir.dialects import nn_attention as ops
from lazytorch.nn.functions.activations import softmax
from lazytorch.nn.functions.dropout import dropout
from lazytorch.nn.functions.padding import pad
from lazytorch.ops.autocasting import narrowing
from lazytorch.ops.recording import FUNCTIONS, apply
from lazytorch.ops.unary import where
from lazytorch.tensor import Tensor
from lazytorch.tensor import value as node_of


def _repeated_heads(x: Tensor, heads: int) -> Tensor:
    """Key or value heads shared by several query heads, repeated (grouped-query attention)."""
    have = int(x.shape[-3])
    if have == heads:
        return x
    shape = tuple(x.shape)
    wide: Tensor = x.unsqueeze(-3).expand(*shape[:-3], have, heads // have, *shape[-2:])
    return wide.reshape((*shape[:-3], heads, *shape[-2:]))


def _grouped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> list[Tensor | None]:
    """Query heads that share heads of key and value as a dimension of their own, [..., heads, group, L, E], along which
    key and value are repeated without a copy (grouped-query attention). Raises RuntimeError for heads that do not fit."""
    heads = int(query.shape[-3])
    for x in (key, value):
        if heads % int(x.shape[-3]):
            raise RuntimeError(
                f"Number of heads in key and value must divide the number of heads in query: {x.shape[-3]}, {heads}"
            )
    shared = math.lcm(int(key.shape[-3]), int(value.shape[-3]))
    group = heads // shared

    def split(x: Tensor) -> Tensor:
        return x.reshape((*x.shape[:-3], shared, group, *x.shape[-2:]))

    if mask is not None and len(mask.shape) > 2:
        mask = split(mask) if mask.shape[-3] == heads else mask.unsqueeze(-3)
    return [split(query), *[_repeated_heads(x, shared).unsqueeze(-3) for x in (key, value)], mask]


@narrowing
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value over the last two dimensions; bool masks are true where attended."""
    if attn_mask is not None and is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa and {query.shape[-3]} != {key.shape[-3], value.shape[-3]}:
        grouped = _grouped(query, key, value, attn_mask)
        out: Tensor = scaled_dot_product_attention(*grouped, dropout_p, is_causal, scale)
        return out.reshape((*out.shape[:-4], query.shape[-3], *out.shape[-2:]))
    if len({x.shape[:-2] for x in (query, key, value)}) > 1:
        lead = FUNCTIONS["broadcast_shapes"](*[x.shape[:-2] for x in (query, key, value)])
        query, key, value = (x.expand(*lead, *x.shape[-2:]) for x in (query, key, value))
    if attn_mask is not None and attn_mask.dtype not in (dtypes.bool_, dtypes.float32, query.dtype):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{attn_mask.dtype.title.lower()} and  query.dtype: {query.dtype.title.lower()} instead."
        )
    factor = 1.0 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    if dropout_p:
        return _with_dropout(query, key, value, attn_mask, dropout_p, is_causal, factor)
    operands = [node_of(x) for x in (query, key, value)] + ([node_of(attn_mask)] if attn_mask is not None else [])
    return apply(ops.attention.operator(causal=is_causal, scale=factor), *operands)


def _with_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, is_causal: bool, scale: float
) -> Tensor:
    scores = (query * scale).matmul(key.transpose(-2, -1))
    if is_causal:
        mask = FUNCTIONS["ones"](query.shape[-2], key.shape[-2], dtype=dtypes.bool_, device=query.device).tril()
    if mask is not None:
        scores = where(mask, scores, float("-inf")) if mask.dtype is dtypes.bool_ else scores + mask
    return dropout(softmax(scores, -1), p).matmul(value)


def additive_mask(mask: Tensor | None, dtype: Any, name: str) -> Tensor | None:
    """A mask as numbers to add: a bool mask is -inf where true."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype is not dtypes.bool_:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return FUNCTIONS["zeros"](*mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, float("-inf"))


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value through their thirds of one weight."""
    size = int(query.shape[-1])

    def project(x: Tensor, first: int, last: int) -> Tensor:
        part = weight if last - first == 3 else weight[first * size : last * size]
        out = x.matmul(part.t())
        return out if bias is None else out + (bias if last - first == 3 else bias[first * size : last * size])

    if query is key and key is value:
        q, k, v = project(query, 0, 3).chunk(3, -1)
        return q, k, v
    if key is value:
        k, v = project(key, 1, 3).chunk(2, -1)
        return project(query, 0, 1), k, v
    return project(query, 0, 1), project(key, 1, 2), project(value, 2, 3)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None) -> bool:
    """Whether there is a batch dimension. Raises AssertionError as torch does for shapes that do not fit."""
    rank = len(query.shape)
    if rank not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    kind = "batched" if rank == 3 else "unbatched"
    if len(key.shape) != rank or len(value.shape) != rank:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key` and `value` to be {rank}-D but found "
            f"{len(key.shape)}-D and {len(value.shape)}-D tensors respectively"
        )
    if padding is not None and len(padding.shape) != rank - 1:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{len(padding.shape)}-D tensor instead"
        )
    if mask is not None and len(mask.shape) not in (2, 3):
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
            f"{len(mask.shape)}-D tensor instead"
        )
    return rank == 3


def _checked_mask(mask: Tensor | None, batch: int, heads: int, targets: int, sources: int) -> Tensor | None:
    if mask is None:
        return None
    wanted = (targets, sources) if len(mask.shape) == 2 else (batch * heads, targets, sources)
    if tuple(mask.shape) != wanted:
        raise RuntimeError(f"The shape of the {len(mask.shape)}D attn_mask is {mask.shape}, but should be {wanted}.")
    return mask.unsqueeze(0) if len(mask.shape) == 2 else mask


@narrowing
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention of [L, N, E] queries over [S, N, E] keys and values (Vaswani et al. 2017).

    Returns the output [L, N, E] and the attention weights [N, L, S] (per head if they are not averaged), or None.
    """
    is_batched = _check_shapes(query, key, value, key_padding_mask, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    padding = additive_mask(key_padding_mask, query.dtype, "key_padding_mask")
    mask = additive_mask(attn_mask, query.dtype, "attn_mask")
    if is_causal and key_padding_mask is None and not need_weights:
        mask = None
    else:
        is_causal = False
    if not is_batched:
        same = (query is key, key is value)
        query, key, value = _unsqueezed(query, key, value, same)
        padding = None if padding is None else padding.unsqueeze(0)
    targets, batch, size = query.shape
    if size != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}")
    head = size // num_heads
    if head * num_heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        q, k, v = _separately((query, key, value), (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    else:
        if key.shape != value.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        assert in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None"
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    mask = _checked_mask(mask, batch, num_heads, targets, key.shape[0])
    if bias_k is not None and bias_v is not None:
        k, v = (FUNCTIONS["cat"]([x, b.repeat(1, batch, 1)]) for x, b in ((k, bias_k), (v, bias_v)))
        mask, padding = (None if x is None else pad(x, (0, 1)) for x in (mask, padding))
    # Heads are a dimension of their own, beside the batch: joining the two would need copies.
    q, k, v = (
        given.reshape((batch, num_heads, -1, head))
        if given is not None
        else x.reshape((x.shape[0], batch, num_heads, head)).permute(1, 2, 0, 3)
        for x, given in ((q, None), (k, static_k), (v, static_v))
    )
    if add_zero_attn:
        zeros = k.new_zeros((batch, num_heads, 1, head))
        k, v = FUNCTIONS["cat"]([k, zeros], 2), FUNCTIONS["cat"]([v, zeros], 2)
        mask, padding = (None if x is None else pad(x, (0, 1)) for x in (mask, padding))
    mask = _merged(mask, padding, batch, num_heads, int(k.shape[2]))
    p = dropout_p if training else 0.0
    out, weights = _attended(q, k, v, mask, p, need_weights, is_causal)
    out = out.matmul(out_proj_weight.t())
    out = (out if out_proj_bias is None else out + out_proj_bias).reshape((targets, batch, out.shape[-1]))
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not is_batched:
        out, weights = out.squeeze(1), None if weights is None else weights.squeeze(0)
    return out, weights


def _unsqueezed(query: Tensor, key: Tensor, value: Tensor, same: tuple[bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
    """With a batch dimension; what was one tensor stays one."""
    q = query.unsqueeze(1)
    k = q if same[0] else key.unsqueeze(1)
    return q, k, k if same[1] else value.unsqueeze(1)


def _separately(inputs: Any, weights: Any, bias: Tensor | None) -> list[Tensor]:
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return [x.matmul(w.t()) if b is None else x.matmul(w.t()) + b for x, w, b in zip(inputs, weights, biases, strict=True)]


def _merged(mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, sources: int) -> Tensor | None:
    """One mask [N or 1, heads or 1, L or 1, S] of the attention mask and the padding mask."""
    if mask is not None:
        mask = mask.unsqueeze(0) if mask.shape[0] == 1 else mask.reshape((batch, heads, -1, sources))
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, sources):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, sources)}, but got {padding.shape}")
    wide: Tensor = padding.reshape((batch, 1, 1, sources))
    return wide if mask is None else mask + wide


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    p: float,
    need_weights: bool,
    is_causal: bool,
) -> tuple[Tensor, Tensor | None]:
    """Of q, k, v [N, heads, L or S, head]: the heads' outputs side by side [L * N, E], and weights [N, heads, L, S]."""
    batch, heads, targets, head = q.shape
    weights = None
    if need_weights:
        scores = (q * math.sqrt(1.0 / head)).matmul(k.transpose(-2, -1))
        weights = softmax(scores if mask is None else scores + mask, -1)
        weights = dropout(weights, p) if p > 0.0 else weights
    if weights is not None and (mask is not None or p > 0.0):
        out = weights.matmul(v)
    else:  # weights that nobody looks at are not computed
        out = scaled_dot_product_attention(q, k, v, mask, p, is_causal)
    return out.permute(2, 0, 1, 3).reshape((targets * batch, heads * head)), weights
