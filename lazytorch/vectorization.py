"""`vmap`: a function of one example becomes a function of a batch of them (torch.func.vmap)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

from lazytorch.ir.batching import BatchedValue
from lazytorch.ir.dialects import tensor
from lazytorch.ir.trace import STATE, Node, Trace
from lazytorch.ir.transformations import BatchLevel
from lazytorch.ops.recording import FUNCTIONS, emit, place
from lazytorch.ops.sampling import all_states, restore_states
from lazytorch.tensor import Tensor, assign, value, wrap
from lazytorch.trees import Structure, broadcast, flatten

Dims = Any
"""A dimension number, None, or a tree of them."""


def vmap(
    func: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """`vmap(f)(xs)` computes f for every slice of `xs`, as one batched computation (torch.func.vmap).

    in_dims: the dimension that runs over the examples, one for all arguments or a tree like them; None: the argument is the
        same for all. Keyword arguments always are. out_dims: where that dimension is put in the results.
    randomness: "error" refuses random functions, "same" draws once for all, "different" for every example.
    chunk_size: so many examples are computed at once at most; None: all.
    Raises ValueError for dimensions that do not fit, RuntimeError where the function asks for a number that differs from
    example to example.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        place()
        call = _Call(func, in_dims, out_dims, randomness)
        leaves, dims, structure, size = call.inputs(args)
        if chunk_size is None or chunk_size >= size:
            made, outcome = call.run(leaves, dims, structure, size, kwargs)
            return outcome.build(made)
        return call.in_chunks(leaves, dims, structure, size, kwargs, chunk_size)

    return vectorized


def _name_of(function: Any) -> str:
    if hasattr(function, "__name__"):
        return str(function.__name__)
    return (
        f"functools.partial({_name_of(function.func)}, ...)" if isinstance(function, functools.partial) else repr(function)
    )


class _Call:
    """One call of a vectorised function."""

    def __init__(self, func: Callable[..., Any], in_dims: Dims, out_dims: Dims, randomness: str) -> None:
        self.func = func
        self.in_dims = in_dims
        self.out_dims = out_dims
        self.randomness = randomness
        self.name = _name_of(func)

    def inputs(self, args: tuple[Any, ...]) -> tuple[list[Any], list[int | None], Structure, int]:
        """The arguments' leaves, the dimension of each that runs over the examples, their structure, the number of examples.

        Raises torch's ValueErrors.
        """
        where = f"vmap({self.name}, in_dims={self.in_dims}, ...)(<inputs>): "
        if not isinstance(self.in_dims, int | tuple):
            raise ValueError(
                f"{where}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
                "got: "
                f"{type(self.in_dims)}."
            )
        if not args:
            raise ValueError(
                f"vmap({self.name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap "
                "over a "
                "function with no inputs. The latter is unsupported."
            )
        leaves, structure = flatten(args)
        dims = broadcast(self.in_dims, structure)
        if dims is None:
            raise ValueError(
                f"{where}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                f"{flatten(self.in_dims)[1]} but inputs has structure {structure}."
            )
        dims = [_checked_dim(where, leaf, dim) for leaf, dim in zip(leaves, dims, strict=True)]
        sizes = [leaf.shape[dim] for leaf, dim in zip(leaves, dims, strict=True) if dim is not None]
        if not sizes:
            raise ValueError("vmap: Expected at least one Tensor to vmap over")
        if len(set(sizes)) > 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
                "mapped "
                "dimension"
            )
        return leaves, dims, structure, sizes[0]

    def run(
        self, leaves: Sequence[Any], dims: Sequence[int | None], structure: Structure, size: int, kwargs: dict[str, Any]
    ) -> tuple[list[Any], Structure]:
        """The leaves of the outcome for all examples, and their structure."""
        trace = STATE.trace
        level = BatchLevel(trace, size, self.randomness)
        given = [leaf if dim is None else _stand_in(trace, level, leaf, dim) for leaf, dim in zip(leaves, dims, strict=True)]
        first = [value(x) if isinstance(x, Tensor) else None for x in given]
        trace.levels.append(level)
        try:
            outcome = self.func(*structure.build(given), **kwargs)
            outputs, made = flatten(outcome)
            del outcome
            out_dims = self._out_dims(outputs, made)
            moved = [x for x, dim in zip(outputs, out_dims, strict=True) if isinstance(x, Tensor)]
            changed = [i for i, x in enumerate(given) if dims[i] is not None and value(x) is not first[i]]
            _check_written(trace, level, (given, outputs, moved))
            batched = level.replay([*map(value, moved), *[value(given[i]) for i in changed]])
        finally:
            trace.levels.remove(level)
        found = iter(batched)
        results = [
            self._result(next(found), dim, x) if isinstance(x, Tensor) else x
            for x, dim in zip(outputs, out_dims, strict=True)
        ]
        for i in changed:
            _write_back(leaves[i], dims[i], next(found))
        return results, made

    def _out_dims(self, outputs: Sequence[Any], structure: Structure) -> list[int | None]:
        out_dims = self.out_dims
        if structure.kind is None and isinstance(out_dims, tuple) and len(out_dims) == 1:
            (out_dims,) = out_dims
        dims = broadcast(out_dims, structure)
        if dims is None:
            raise ValueError(
                f"vmap({self.name}, ..., out_dims={self.out_dims})(<inputs>): out_dims is not compatible with the "
                "structure of "
                f"`outputs`. out_dims has structure {flatten(self.out_dims)[1]} but outputs has structure {structure}."
            )
        for x, dim in zip(outputs, dims, strict=True):
            if not isinstance(x, Tensor) and dim is not None:
                raise ValueError(
                    f"vmap({self.name}, ...): `{self.name}` must only return Tensors, got type {type(x)}. Did you mean to "
                    "set "
                    "out_dims= to None for output?"
                )
        return dims

    def _result(self, found: BatchedValue, dim: int | None, example: Tensor) -> Tensor:
        if dim is None:
            if found.batched:
                raise ValueError(
                    f"vmap({self.name}, ...): `{self.name}` can not return a BatchedTensor when out_dim is None"
                )
            return example
        whole = wrap(STATE.trace, found.builder.whole(found))
        return whole if dim == 0 else _moved(whole, 0, dim)

    def in_chunks(
        self,
        leaves: Sequence[Any],
        dims: Sequence[int | None],
        structure: Structure,
        size: int,
        kwargs: dict[str, Any],
        chunk: int,
    ) -> Any:
        """The outcome, computed for some of the examples at a time; with randomness "same" all draw the same numbers."""
        parts: list[list[Any]] = []
        made = structure
        states = all_states()
        for start in range(0, size, chunk):
            if self.randomness == "same":
                restore_states(states)
            count = min(chunk, size - start)
            given = [x if d is None else x.narrow(d, start, count) for x, d in zip(leaves, dims, strict=True)]
            part, made = self.run(given, dims, structure, count, kwargs)
            parts.append(part)
        out_dims = self._out_dims(parts[0], made)
        return made.build(
            [
                several[0] if dim is None else FUNCTIONS["cat"](list(several), dim)
                for several, dim in zip(zip(*parts, strict=True), out_dims, strict=True)
            ]
        )


def _checked_dim(where: str, x: Any, dim: Any) -> int | None:
    """The dimension of an argument that runs over the examples, not negative."""
    if dim is None:
        return None
    if not isinstance(dim, int):
        raise ValueError(f"{where}Got in_dim={dim} for an input but in_dim must be either an integer dimension or None.")
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{where}Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor "
            "arguments, please use None as the respective in_dim"
        )
    rank = len(x.shape)
    if not -rank <= dim < rank:
        raise ValueError(
            f"{where}Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {rank} so expected "
            "in_dim "
            f"to satisfy -{rank} <= in_dim < {rank}."
        )
    return dim % rank


def _moved(x: Tensor, source: int, destination: int) -> Tensor:
    """`x.movedim(source, destination)`"""
    made: Tensor = FUNCTIONS["movedim"](x, source, destination)
    return made


def _stand_in(trace: Trace, level: BatchLevel, x: Tensor, dim: int) -> Tensor:
    """What the function is given in the place of an argument: its first example."""
    batch = value(_moved(x, dim, 0) if dim else x)
    return wrap(trace, level.stand_in(batch))


def _write_back(argument: Tensor, dim: int | None, found: BatchedValue) -> None:
    """An in-place operation on an argument changes the argument itself, in all examples."""
    node: Node = found.builder.whole(found)
    if dim:
        order = (*range(1, dim + 1), 0, *range(dim + 1, len(node.type.shape)))
        node = emit(tensor.permute, node, order=order)
    assign(argument, node)


def _check_written(trace: Trace, level: BatchLevel, own: Sequence[list[Any]]) -> None:
    """Raise torch's RuntimeError if a tensor from outside was given a value that differs from example to example, and give
    it back the one it had.

    own: lists of what the function was given and returned. A tensor that nobody else refers to was made by the function.
    """
    written = dict(reversed(level.written))  # to the value before the first write
    level.written.clear()
    given = set(map(id, own[0]))
    while written:
        target, before = written.popitem()
        if id(target) in given or not level.is_older(before) or not level.depends(target._node):
            continue
        unheld = 2 + (target in trace.updates) + sum(x is target for several in (*own, trace.live) for x in several)
        unheld += sum(x._base is target for x in trace.live)
        unheld += sum(x is target for outer in trace.levels for x, _ in outer.written)
        if getrefcount(target) > unheld:
            target._node = before
            raise RuntimeError(
                "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
                "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but "
                "`self` not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace "
                "arithmetic. If said operator is being called inside the PyTorch framework, please file a bug report "
                "instead."
            )
