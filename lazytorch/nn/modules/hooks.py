"""Hooks of modules: what is called before and after forward and backward, for one module or for all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lazytorch.autograd.function import Function
from lazytorch.history import RemovableHandle
from lazytorch.tensor import Tensor


class Hooks(OrderedDict[int, Any]):
    """Functions in the order they are called, by the number of their handle."""

    def add(self, hook: Callable[..., Any], prepend: bool = False, **options: Any) -> RemovableHandle:
        """Register a hook; options are kept as its attributes."""
        handle = HookHandle(self)
        self[handle.id] = (hook, options) if options else hook
        if prepend:
            self.move_to_end(handle.id, last=False)
        return handle


class HookHandle(RemovableHandle):
    """Takes a hook away again, also at the end of a `with` block."""

    next_id = 0

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = HookHandle.next_id
        HookHandle.next_id += 1
        super().__init__(hooks, self.id)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


EVERY_MODULE = Hooks()
"""Hooks that run for every module, each with its kind: one dictionary, so that a call asks once whether there are any."""


def global_hooks(kind: str) -> list[Any]:
    """The hooks of a kind that run for every module."""
    return [hook for found, hook in EVERY_MODULE.values() if found == kind]


def _for_every_module(kind: str, hook: Any) -> RemovableHandle:
    handle = HookHandle(EVERY_MODULE)
    EVERY_MODULE[handle.id] = (kind, hook)
    return handle


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, inputs, output)` after every module's forward."""
    return _for_every_module("forward", (hook, {"with_kwargs": with_kwargs, "always_call": always_call}))


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, inputs)` before every module's forward."""
    return _for_every_module("forward_pre", (hook, {"with_kwargs": False}))


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of any module's inputs are known."""
    return _for_every_module("backward", hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` when the gradients of any module's outputs are known."""
    return _for_every_module("backward_pre", hook)


class _Watch(Function):
    """The identity, which tells `ctx.tell` the cotangents in the backward and passes on what it returns."""

    @staticmethod
    def forward(ctx: Any, tell: Any, *tensors: Tensor) -> Any:
        ctx.tell = tell
        ctx.set_materialize_grads(False)
        return tuple(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.tell(gradients))


class BackwardWatch:
    """Sees the gradients at a module's outputs and inputs, and calls its backward hooks with them."""

    def __init__(self, module: Any, hooks: Sequence[Any], pre_hooks: Sequence[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple[Any, ...] = ()
        self.watches_inputs = False
        self.input_places: list[int] = []
        self.input_count = 0

    def inputs(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, watched where they are tensors."""
        self.input_count = len(arguments)
        self.input_places = [i for i, x in enumerate(arguments) if isinstance(x, Tensor)]
        tensors = [arguments[i] for i in self.input_places]
        if not self.hooks or not any(x.requires_grad for x in tensors):
            return arguments
        self.watches_inputs = True
        watched = _Watch.apply(self._at_inputs, *tensors)
        out = list(arguments)
        for place, tensor in zip(self.input_places, watched, strict=True):
            out[place] = tensor
        return tuple(out)

    def outputs(self, result: Any) -> Any:
        """The result, watched where it is a tensor or a sequence with tensors."""
        single = isinstance(result, Tensor)
        if not single and not isinstance(result, tuple | list):
            return result
        parts = [result] if single else list(result)
        places = [i for i, x in enumerate(parts) if isinstance(x, Tensor)]

        def tell(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
            return self._at_outputs(gradients, places, len(parts))

        watched = _Watch.apply(tell, *[parts[i] for i in places])
        for place, tensor in zip(places, watched, strict=True):
            parts[place] = tensor
        return parts[0] if single else type(result)(parts)

    def _at_outputs(self, gradients: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
        full: list[Any] = [None] * count
        for place, gradient in zip(places, gradients, strict=True):
            full[place] = gradient
        self.grad_outputs = tuple(full)
        for hook in self.pre_hooks:
            changed = hook(self.module, self.grad_outputs)
            if changed is not None:
                self.grad_outputs = changed if isinstance(changed, tuple) else (changed,)
        if not self.watches_inputs:
            nothing = (None,) * self.input_count
            for hook in self.hooks:
                if hook(self.module, nothing, self.grad_outputs) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None for "
                        "all gradients."
                    )
        return tuple([self.grad_outputs[place] for place in places])

    def _at_inputs(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        full: list[Any] = [None] * self.input_count
        for place, gradient in zip(self.input_places, gradients, strict=True):
            full[place] = gradient
        found = tuple(full)
        for hook in self.hooks:
            changed = hook(self.module, found, self.grad_outputs)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(found):
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(changed)}, but expected "
                        f"{len(found)}"
                    )
                found = changed
        return tuple([found[place] for place in self.input_places])


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""The attributes of a module that hold its hooks."""


class HookedModule:
    """Registration of a module's hooks."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after every forward; what it returns replaces the output."""
        return self._forward_hooks.add(hook, prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, inputs)` before every forward; what it returns replaces the inputs."""
        return self._forward_pre_hooks.add(hook, prepend, with_kwargs=with_kwargs)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the inputs' gradients are known."""
        return self._backward_hooks.add(hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the outputs' gradients are known."""
        return self._backward_pre_hooks.add(hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after this module's part of a state dict is made."""
        return self._state_dict_hooks.add(hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's part of a state dict is made."""
        return self._state_dict_pre_hooks.add(hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)` before loading."""
        return self._load_state_dict_pre_hooks.add(lambda *arguments: hook(self, *arguments))

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any], with_module: bool = False) -> RemovableHandle:
        return self.register_load_state_dict_pre_hook(hook) if with_module else self._load_state_dict_pre_hooks.add(hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading."""
        return self._load_state_dict_post_hooks.add(hook)
