"""Computing a part of a network again in the backward instead of keeping its values (torch.utils.checkpoint)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.autograd.engine import as_tensors, grad
from lazytorch.autograd.function import Function
from lazytorch.autograd.modes import enable_grad, no_grad
from lazytorch.history import Accumulator
from lazytorch.ir.backward import postorder
from lazytorch.ops.sampling import all_states, restore_states
from lazytorch.tensor import Tensor, value


def noop_context_fn() -> tuple[Any, Any]:
    """No contexts around the forward and its repetition."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """The devices beside the CPU that tensors of the arguments are on, and their generators' states: there are none."""
    return [], []


def set_device_states(devices: Sequence[int], states: Sequence[Tensor], *, device_type: str | None = None) -> None:
    """Set the states that `get_device_states` returned."""


def _leaves(outputs: Sequence[Any]) -> list[Tensor]:
    """The autograd leaves that the outputs depend on."""
    roots = [value(x) for x in outputs if isinstance(x, Tensor) and x.requires_grad]
    found: dict[int, Tensor] = {}
    for node in [*postorder(roots), *roots]:
        for candidate in (node, *node.operands):
            if isinstance(candidate.history, Accumulator):
                owner = candidate.history.tensor()
                if owner is not None:
                    found[id(owner)] = owner
    return list(found.values())


class _Call:
    """A function with its arguments, to be called once now and once in the backward, with the same random numbers."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.function, self.arguments, self.keywords = function, arguments, keywords
        self.inputs = [x for x in arguments if isinstance(x, Tensor)]
        self.generators = all_states()

    def __call__(self, context: Any) -> tuple[Any, list[Tensor]]:
        """The outputs, computed from detached inputs, which come second."""
        fresh = [x.detach().requires_grad_(x.requires_grad) for x in self.inputs]
        following = iter(fresh)
        given = [next(following) if isinstance(x, Tensor) else x for x in self.arguments]
        with enable_grad(), context:
            return self.function(*given, **self.keywords), fresh


class _Checkpoint(Function):
    """The outputs of a call, whose backward calls again. Inputs: the call's own and the leaves it reached otherwise."""

    @staticmethod
    def forward(ctx: Any, call: _Call, preserve: bool, context: Any, outputs: Any, *inputs: Tensor) -> Any:
        ctx.call, ctx.preserve, ctx.context = call, preserve, context
        ctx.others = inputs[len(call.inputs) :]
        ctx.set_materialize_grads(False)
        results = tuple([x.detach() if isinstance(x, Tensor) else x for x in as_tensors(outputs)])
        return results if isinstance(outputs, tuple | list) else results[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        call = ctx.call
        before = all_states()
        if ctx.preserve:
            restore_states(call.generators)
        outputs, fresh = call(ctx.context)
        if ctx.preserve:
            restore_states(before)
        pairs = [
            (x, g)
            for x, g in zip(as_tensors(outputs), gradients, strict=True)
            if g is not None and isinstance(x, Tensor) and x.requires_grad
        ]
        wanted = [x for x in (*fresh, *ctx.others) if x.requires_grad]
        found = grad([x for x, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
        by_tensor = {id(x): g for x, g in zip(wanted, found, strict=True)}
        return (None, None, None, None, *[by_tensor.get(id(x)) for x in (*fresh, *ctx.others)])


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function without keeping what its backward needs; the backward calls it again.

    preserve_rng_state (keyword): the second call draws the same random numbers. use_reentrant=True: gradients flow only if
    one of the arguments requires them, and keyword arguments are refused, as in torch.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, "
            "calling checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if "
            "you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more "
            "details on the differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if use_reentrant and (context_fn is not noop_context_fn or debug):
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    call = _Call(function, args, kwargs)
    if use_reentrant and not any(x.requires_grad for x in call.inputs):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
        with no_grad():
            return function(*args)
    forward_context, repeated_context = context_fn()
    outputs, fresh = call(forward_context)
    own = {id(x) for x in fresh}
    others = [x for x in _leaves(as_tensors(outputs)) if id(x) not in own]
    return _Checkpoint.apply(call, preserve, repeated_context, outputs, *call.inputs, *others)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Functions one after the other in segments, all but the last of them checkpointed."""
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. In "
            "version 2.9 we will raise an exception if use_reentrant is not passed. use_reentrant=False is recommended, but "
            "if you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more "
            "details on the differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def run(first: int, last: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for part in parts[first:last]:
                x = part(x)
            return x

        return forward

    size = len(parts) // segments
    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(run(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return run(end, len(parts))(input)
