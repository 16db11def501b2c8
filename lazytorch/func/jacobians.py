"""`jacrev`, `jacfwd` and `hessian`: whole Jacobians, one vectorised product with all unit vectors (torch.func)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lazytorch.func.derivatives import Argnums, Function, jvp, replaced, selected, vjp
from lazytorch.ops.recording import FUNCTIONS, place
from lazytorch.tensor import Tensor
from lazytorch.trees import flatten
from lazytorch.vectorization import vmap


def _unit_vectors(like: Sequence[Tensor]) -> list[Tensor]:
    """All unit vectors of the space of these tensors together: of each [total, *shape]."""
    sizes = [x._node.type.numel for x in like]
    total, before, out = sum(sizes), 0, []
    for x, size in zip(like, sizes, strict=True):
        rows = FUNCTIONS["eye"](size, dtype=x.dtype, device=x.device)
        zeros = [
            FUNCTIONS["zeros"]((count, size), dtype=x.dtype, device=x.device) for count in (before, total - before - size)
        ]
        parts = [part for part in (zeros[0], rows, zeros[1]) if part.shape[0]]
        whole = FUNCTIONS["cat"](parts) if len(parts) > 1 else (parts[0] if parts else rows)
        out.append(whole.reshape((total, *x.shape)))
        before += size
    return out


def _by_blocks(x: Tensor, like: Sequence[Tensor], dim: int = 0) -> list[Tensor]:
    """What was computed for all unit vectors, as one part per tensor that they are of."""
    sizes = [y._node.type.numel for y in like]
    parts: Sequence[Tensor] = FUNCTIONS["split"](x, sizes, dim) if len(sizes) > 1 else (x,)
    return list(parts)


def jacrev(
    func: Function,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Function:
    """`jacrev(f)(*args)`: the derivative of every element of f's outcome by every element of the argument(s) `argnums`,
    [*output, *input], in reverse mode. Trees of outputs hold trees of inputs. chunk_size: so many rows are computed at
    once. With `has_aux` a pair of it and aux."""

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        place()
        positions, chosen = selected(args, argnums)
        several = isinstance(argnums, tuple)

        def of_chosen(*new: Any) -> Any:
            return func(*replaced(args, positions, new if several else new[0], several), **kwargs)

        found = vjp(of_chosen, *(chosen if several else (chosen,)), has_aux=has_aux)
        outputs, structure = flatten(found[0])
        pull = found[1]

        def rows(*units: Tensor) -> Any:
            pulled = pull(structure.build(list(units)))
            return pulled if several else pulled[0]

        products, inner = flatten(vmap(rows, chunk_size=chunk_size)(*_unit_vectors(outputs)))
        blocks = [_by_blocks(product, outputs) for product in products]
        made = [
            inner.build([block[i].reshape((*y.shape, *block[i].shape[1:])) for block in blocks])
            for i, y in enumerate(outputs)
        ]
        outcome = structure.build(made)
        return (outcome, found[2]) if has_aux else outcome

    return jacobian


def jacfwd(func: Function, argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error") -> Function:
    """`jacfwd(f)(*args)`: what `jacrev` computes, in forward mode: better where there are fewer inputs than outputs.

    randomness: how f may use random functions (see `vmap`).
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        place()
        positions, chosen = selected(args, argnums)
        several = isinstance(argnums, tuple)
        inputs, structure = flatten(chosen)

        def of_chosen(*leaves: Any) -> Any:
            return func(*replaced(args, positions, structure.build(list(leaves)), several), **kwargs)

        def columns(*units: Tensor) -> Any:
            return jvp(of_chosen, tuple(inputs), units, has_aux=has_aux)[1:]

        dims = (0, None) if has_aux else (0,)
        pushed, *aux = vmap(columns, out_dims=dims, randomness=randomness)(*_unit_vectors(inputs))
        products, outer = flatten(pushed)
        made = []
        for product in products:
            blocks = _by_blocks(FUNCTIONS["movedim"](product, 0, -1), inputs, -1)
            shape = product.shape[1:]
            made.append(structure.build([b.reshape((*shape, *x.shape)) for b, x in zip(blocks, inputs, strict=True)]))
        outcome = outer.build(made)
        return (outcome, aux[0]) if has_aux else outcome

    return jacobian


def hessian(func: Function, argnums: Argnums = 0) -> Function:
    """`hessian(f)(*args)`: the second derivatives of f, [*output, *input, *input]: forward mode over reverse mode."""
    return jacfwd(jacrev(func, argnums), argnums)
