"""Similarities, distances and the bilinear form (torch.nn.functional)."""

from __future__ import annotations

import numpy as np

from lazytorch import dtypes
from lazytorch.ops.einstein import einsum
from lazytorch.ops.joining import broadcast_tensors
from lazytorch.ops.recording import c_name, rounding_once
from lazytorch.ops.unary import in_common_type
from lazytorch.tensor import Tensor, from_array


@rounding_once
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The dot product along a dimension of both inputs divided by their norms, each norm at least eps."""
    x1, x2 = broadcast_tensors(*in_common_type(x1, x2))
    if x1.dtype.kind != "f":
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {x1.dtype.title}")
    a, b = (x / x.norm(2, dim, keepdim=True).clamp_min(eps) for x in (x1, x2))
    return (a * b).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows, in the order (0, 1), (0, 2), ..."""
    if len(input.shape) != 2:
        raise RuntimeError("pdist only supports 2D tensors")
    first, second = np.triu_indices(input.shape[0], 1)
    a, b = (input.index_select(0, from_array(index.astype(np.int64), dtypes.int64, input)) for index in (first, second))
    return (a - b).norm(p, -1)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 @ weight[k] @ input2 for every output k, plus bias."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    for number, (x, size) in enumerate(((input1, weight.shape[1]), (input2, weight.shape[2])), 1):
        if x.shape[-1] != size:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {x.shape[-1]} but expected {size}"
            )
    parts = {"input1": input1, "input2": input2, "weight": weight, "bias": bias}
    kinds = {name: x.dtype for name, x in parts.items() if x is not None}
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{name}: {c_name(dtype)}" for name, dtype in kinds.items())
        raise RuntimeError(f"All tensors must have the same dtype, got {shown}")
    lead = tuple(input1.shape[:-1])
    a, b = (x.reshape((-1, x.shape[-1])) for x in (input1, input2))
    out = einsum("bi,kij->bkj", a, weight)
    out = (out * b.unsqueeze(1)).sum(-1).reshape((*lead, weight.shape[0]))
    return out if bias is None else out + bias
