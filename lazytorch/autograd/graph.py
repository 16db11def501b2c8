"""What programs ask of the recorded graph (torch.autograd.graph): hooks on saved values and on several gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from lazytorch.ir.declaration import RESULT, Signature
from lazytorch.ir.dialects import tensor
from lazytorch.ir.dialects.composite import OperationView
from lazytorch.ir.saved import reads
from lazytorch.ir.trace import STATE, Node, Trace, record_node, result
from lazytorch.ir.types import TupleType
from lazytorch.runtime.buffer import Buffer
from lazytorch.tensor import Tensor, value, wrap

_disabled: list[str] = []


class saved_tensors_hooks:
    """Within a block, keep `pack_hook(x)` for every value that a derivative will read, and read `unpack_hook` of it.

    Operations are recorded, so what a block saves is known when the block ends (or when a value is asked for in it): that is
    when the pack hook is called, in the order of the operations. Values that operations with several results save
    (`sort`, factorisations) do not pass through the hooks.
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> Self:
        if _disabled:
            raise RuntimeError(_disabled[-1])
        trace = STATE.trace
        self._outer = trace.watch
        _pack_pending(trace)
        trace.watch = self._pack
        self._start, self._epoch = len(trace.nodes), trace.epoch
        return self

    def __exit__(self, *arguments: Any) -> None:
        trace = STATE.trace
        _pack_pending(trace)
        trace.watch = self._outer

    def _pack(self, trace: Trace) -> None:
        """Hand over what the operations recorded since the last time save; a sync, which clears the trace, comes next."""
        nodes = trace.nodes[self._start if self._epoch is trace.epoch else 0 :]
        self._start, self._epoch = len(trace.nodes), trace.epoch
        for node in nodes:
            if node.history is True and node.signature is not None and node.signature.differentiable:
                self._pack_values(trace, node)

    def _pack_values(self, trace: Trace, node: Node) -> None:
        signature = node.signature
        assert signature is not None
        if signature.operator.declaration is result or type(node.type) is TupleType:
            return
        read = frozenset[int]().union(
            *[own for x, own in zip(node.operands, reads(signature), strict=True) if x.history is not None]
        )
        packed: dict[int, tuple[Node, Any]] = {}
        for position in sorted(read, reverse=True):
            x = node if position == RESULT else node.operands[position]
            if x.signature is None and not isinstance(x.buffer, Buffer):
                continue  # a Python number
            saved = wrap(trace, record_node(trace, tensor.detach.operator(), (x,), False))
            packed[position] = x, self.pack_hook(saved)
        if packed:
            node.signature = _with_hooks(signature, packed, self.unpack_hook)
            trace.mixed = True  # a walk over this graph is no walk over one that looks like it


def _pack_pending(trace: Trace) -> None:
    if trace.watch is not None:
        trace.watch(trace)


def _with_hooks(signature: Signature, packed: dict[int, tuple[Node, Any]], unpack: Callable[[Any], Tensor]) -> Signature:
    """The signature of one operation whose rules read what the hook unpacks."""
    rules = signature.vjp

    def rule(op: Node, cotangent: Node) -> Any:
        operands: list[Any] = list(op.operands)
        outcome: Any = op
        for position, (original, kept) in packed.items():
            found = unpack(kept)
            if not isinstance(found, Tensor):
                raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got {type(found).__name__}")
            node = record_node(STATE.trace, tensor.detach.operator(), (value(found),), False)
            node.history = original.history
            if position == RESULT:
                outcome = node
            else:
                operands[position] = node
        view = OperationView(operands, op.attributes, outcome)
        if callable(rules):
            return rules(view, cotangent)
        assert rules is not None
        wanted = zip(rules, op.operands, strict=True)
        return [None if one is None or x.history is None else one(view, cotangent) for one, x in wanted]

    own = object.__new__(Signature)  # with the number of the signature that it stands for: it computes the same
    for name in Signature.__slots__:
        setattr(own, name, getattr(signature, name))
    own.vjp = rule
    return own


class save_on_cpu:
    """Keep values for the backward in the CPU's memory within a block: they are there already."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        self.pin_memory = pin_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *arguments: Any) -> None:
        pass


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Within a block, opening `saved_tensors_hooks` raises RuntimeError with the message."""
    _disabled.append(error_message)
    try:
        yield
    finally:
        _disabled.pop()


class _Handles:
    """Removes several hooks."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Call the hooks no more."""
        for handle in self.handles:
            handle.remove()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all") -> _Handles:
    """Call `fn(gradients)` once a backward has the gradients of all tensors; with mode "any", `fn(gradient)` of the first.

    Raises ValueError for another mode.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    arrived: dict[int, Tensor] = {}
    several = list(tensors)

    def hook(position: int) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            arrived[position] = gradient
            if mode == "any" and len(arrived) == 1:
                fn(gradient)
            if len(arrived) == len(several):
                gradients = [arrived[i] for i in range(len(several))]
                arrived.clear()
                if mode == "all":
                    fn(gradients)

        return note

    return _Handles([x.register_hook(hook(i)) for i, x in enumerate(several)])


__all__ = ["disable_saved_tensors_hooks", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks"]
