"""Module: parameters, buffers, submodules, hooks, and a forward function (torch.nn.Module)."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from lazytorch import dtypes
from lazytorch.changes import CHANGES
from lazytorch.dtypes import DType
from lazytorch.ir.trace import STATE
from lazytorch.nn.modules.hooks import (
    EVERY_MODULE,
    HOOKS,
    BackwardWatch,
    HookedModule,
    Hooks,
    global_hooks,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from lazytorch.nn.modules.state import IncompatibleKeys, StateDict, load_into, save_from
from lazytorch.nn.modules.tree import Mirror, ModuleTree
from lazytorch.nn.parameter import Buffer, Parameter
from lazytorch.runtime.device import Device
from lazytorch.tensor import PACKAGE, Tensor, caller

__all__ = [
    "Module",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
]


_REGISTRIES = ("_parameters", "_buffers", "_modules")


class _Uncompiled:
    """A compiled module's call as it is without that."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.__qualname__ = type(module).__name__

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        attributes = self.module.__dict__
        compiled = attributes["_compiled"]
        attributes["_compiled"] = None
        try:
            return self.module(*arguments, **keywords)
        finally:
            attributes["_compiled"] = compiled


class Module(ModuleTree, HookedModule):
    """A part of a network: parameters, buffers, submodules and a forward function."""

    training: bool
    dump_patches: bool = False
    _version: int = 1
    call_super_init: bool = False
    _compiled: Any = None
    """What is called in place of this module (`Module.compile`)."""
    _is_own = True
    """Whether `forward` is the library's: then what it records belongs to the line that called the module."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._is_own = getattr(cls.forward, "__module__", "").partition(".")[0] == PACKAGE

    def __getattr__(self, name: str) -> Any:
        """Parameters, buffers and submodules are attributes too. They are found in the instance's own dictionary, and here
        only when a subclass has put a dictionary of its own in place of a registry."""
        for registry in _REGISTRIES:
            registered = self.__dict__.get(registry, ())
            if name in registered:
                return registered[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if not self.call_super_init and (arguments or keywords):
            wrong = f"'{next(iter(keywords))}'" if keywords else f"{len(arguments) + 1}"
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument {wrong}"
                if keywords
                else f"{type(self).__name__}.__init__() takes 1 positional argument but {wrong} were given"
            )
        attributes = self.__dict__
        attributes["training"] = True
        for registry in _REGISTRIES:
            attributes[registry] = Mirror(attributes)
        attributes["_non_persistent_buffers_set"] = set()
        for hooks in HOOKS:
            attributes[hooks] = Hooks()
        if self.call_super_init:
            super().__init__(*arguments, **keywords)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute the output; subclasses define it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self._compiled is not None:
            return self._compiled(*arguments, **keywords)
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or EVERY_MODULE
        ):
            trace = STATE.trace
            call, trace.call = trace.call, None  # hooks are the user's code
            try:
                return self._call_hooked(arguments, keywords)
            finally:
                trace.call = call
        trace = STATE.trace
        call = trace.call
        if self._is_own is (call is not None):
            return self.forward(*arguments, **keywords)
        trace.call = caller() if call is None else None
        try:
            return self.forward(*arguments, **keywords)
        finally:
            trace.call = call

    def _call_hooked(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        for hook, options in [*global_hooks("forward_pre"), *self._forward_pre_hooks.values()]:
            if options["with_kwargs"]:
                changed = hook(self, arguments, keywords)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                            + f"{changed}."
                        )
                    arguments, keywords = changed
                continue
            changed = hook(self, arguments)
            if changed is not None:
                arguments = changed if isinstance(changed, tuple) else (changed,)
        watch = None
        backward = [*global_hooks("backward"), *self._backward_hooks.values()]
        backward_pre = [*global_hooks("backward_pre"), *self._backward_pre_hooks.values()]
        if backward or backward_pre:
            watch = BackwardWatch(self, backward, backward_pre)
            arguments = watch.inputs(arguments)
        after = [*global_hooks("forward"), *self._forward_hooks.values()]
        called: set[int] = set()
        try:
            out = self.forward(*arguments, **keywords)
            for number, (hook, options) in enumerate(after):
                called.add(number)
                out = _after(self, hook, options, arguments, keywords, out)
        except BaseException:
            for number, (hook, options) in enumerate(after):
                if options["always_call"] and number not in called:
                    _after(self, hook, options, arguments, keywords, None)
            raise
        return out if watch is None else watch.outputs(out)

    # -- attributes

    def __setattr__(self, name: str, entry: Any) -> None:
        attributes = self.__dict__
        if attributes.get(name, self) is not entry:
            CHANGES.modules += 1
        if isinstance(entry, Parameter):
            if "_parameters" not in attributes:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, entry)
            return
        if isinstance(entry, Module):
            if "_modules" not in attributes:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_modules")
            self._modules[name] = entry
            return
        if "_parameters" in attributes:
            if name in self._parameters:
                return self._assign("_parameters", name, entry, "parameter", "torch.nn.Parameter or None")
            if name in self._modules:
                return self._assign("_modules", name, entry, "child module", "torch.nn.Module or None")
            if name in self._buffers:
                if entry is not None and not isinstance(entry, Tensor):
                    self._assign("_buffers", name, entry, "buffer", "torch.nn.Buffer, torch.Tensor or None")
                self._buffers[name] = entry
                return
            if isinstance(entry, Buffer):
                self._forget(name, "_buffers")
                self.register_buffer(name, entry, entry.__dict__["persistent"])
                return
        object.__setattr__(self, name, entry)

    def _assign(self, registry: str, name: str, entry: Any, kind: str, expected: str) -> None:
        """Give a registered name another entry: only None is left to allow."""
        if entry is not None:
            raise TypeError(f"cannot assign '{_type_name(entry)}' as {kind} '{name}' ({expected} expected)")
        self.__dict__[registry][name] = None

    def _forget(self, name: str, kept: str) -> None:
        """Take a name away, but for its place in the registry where it comes next."""
        attributes = self.__dict__
        if name in attributes[kept]:
            return
        for registry in _REGISTRIES:
            if name in attributes[registry]:
                del attributes[registry][name]
        attributes.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            if name in self.__dict__[registry]:
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        CHANGES.modules += 1
        object.__delattr__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for registry in _REGISTRIES:
            for name in state.get(registry, ()):
                state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for registry in _REGISTRIES:
            mirror = Mirror(self.__dict__)
            for name, entry in state.get(registry, {}).items():
                mirror[name] = entry
            self.__dict__[registry] = mirror
        for hooks in HOOKS:
            self.__dict__.setdefault(hooks, Hooks())

    def _check_name(self, kind: str, name: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or the place of an absent one)."""
        self._check_name("parameter", name)
        if hasattr(self, name) and name not in self._parameters:
            raise KeyError(f"attribute '{name}' already exists")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter."""
        self._check_name("buffer", name)
        if hasattr(self, name) and name not in self._buffers:
            raise KeyError(f"attribute '{name}' already exists")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name("module", name)
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The other name of `add_module`."""
        self.add_module(name, module)

    def compile(self, **options: Any) -> None:
        """Have this module's calls captured and replayed: the options are those of `torch.compile`."""
        from lazytorch.capturing.options import compiled  # loaded when first used: `import lazytorch` need not wait for it

        object.__setattr__(self, "_compiled", compiled(_Uncompiled(self), **options))

    # -- changing everything inside

    def train(self, mode: bool = True) -> Module:
        """Training mode, here and in all submodules."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """Evaluation mode."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call fn on every submodule and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Switch the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget (or zero) the gradients of all parameters."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.detach_() if parameter.grad.grad_fn is not None else parameter.grad.requires_grad_(False)
                parameter.grad.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Module:
        """Replace the values of parameters, their gradients and buffers by a function of them."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        for parameter in self._parameters.values():
            if parameter is not None:
                parameter.data = fn(parameter.data)
                if parameter.grad is not None:
                    parameter.grad.data = fn(parameter.grad.data)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _cast(self, dtype: DType) -> Module:
        return self._apply(lambda x: x.to(dtype) if x.dtype.is_floating_point else x)

    def to(self, *arguments: Any, **keywords: Any) -> Module:
        """Move parameters and buffers to a device, convert floating ones. `to(dtype)`, `to(device)`, `to(tensor)`."""
        dtype, device = keywords.get("dtype"), None
        for argument in (*arguments, keywords.get("device"), keywords.get("tensor")):
            if isinstance(argument, DType):
                dtype = argument
            elif isinstance(argument, Tensor):
                dtype, device = argument.dtype, argument.device
            elif argument is not None and not isinstance(argument, bool):
                device = Device(argument)
        if device is not None:
            device.check_usable()
            self._apply(lambda x: x.to(device))
        if dtype is None:
            return self
        if dtype.kind not in "fc":
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}")
        return self._cast(dtype)

    def cpu(self) -> Module:
        """Move to the CPU."""
        return self._apply(lambda x: x.cpu())

    def cuda(self, device: Any = None) -> Module:
        """Move to a GPU. Raises the device's error where there is none."""
        return self.to(Device("cuda") if device is None else Device(device))

    def type(self, dst_type: Any) -> Module:
        """Parameters and buffers in another element type."""
        return self._apply(lambda x: x.to(dst_type))

    def float(self) -> Module:
        """Floating parameters and buffers in float32."""
        return self._cast(dtypes.float32)

    def double(self) -> Module:
        """Floating parameters and buffers in float64."""
        return self._cast(dtypes.float64)

    def half(self) -> Module:
        """Floating parameters and buffers in float16."""
        return self._cast(dtypes.float16)

    def bfloat16(self) -> Module:
        """Floating parameters and buffers in bfloat16."""
        return self._cast(dtypes.bfloat16)

    # -- state

    def get_extra_state(self) -> Any:
        """Further state for the state dict; a subclass that defines it defines `set_extra_state` too."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Please file an issue."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Please file an issue."
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        save_from(self, destination, prefix, keep_vars)

    def state_dict(self, *arguments: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> StateDict:
        """All parameters and persistent buffers by dotted name, without history unless `keep_vars`."""
        for name, given in zip(("destination", "prefix", "keep_vars"), arguments, strict=False):
            destination = given if name == "destination" else destination
            prefix = given if name == "prefix" else prefix
            keep_vars = given if name == "keep_vars" else keep_vars
        if destination is None:
            destination = StateDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        load_into(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy values into parameters and buffers (`assign`: take them over). Raises RuntimeError for what does not fit."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        values = OrderedDict(state_dict)
        self._load(values, "", metadata, assign, missing, unexpected, errors)
        if strict and unexpected:
            listed = ", ".join(f'"{name}"' for name in unexpected)
            errors.insert(0, f"Unexpected key(s) in state_dict: {listed}. ")
        if strict and missing:
            listed = ", ".join(f'"{name}"' for name in missing)
            errors.insert(0, f"Missing key(s) in state_dict: {listed}. ")
        if errors:
            text = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{text}")
        return IncompatibleKeys(missing, unexpected)

    def _load(
        self,
        values: Any,
        prefix: str,
        metadata: Any,
        assign: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        local = {} if metadata is None else metadata.get(prefix[:-1], {})
        if assign:
            local["assign_to_params_buffers"] = True
        self._load_from_state_dict(values, prefix, local, True, missing, unexpected, errors)
        for name, child in self._modules.items():
            if child is not None:
                inner = f"{prefix}{name}."
                part = {key: entry for key, entry in values.items() if key.startswith(inner)}
                child._load(part, inner, metadata, assign, missing, unexpected, errors)
        keys = IncompatibleKeys(missing, unexpected)
        for hook in self._load_state_dict_post_hooks.values():
            if hook(self, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are notexpected to return new values, if "
                    "incompatible_keys need to be modified,it should be done inplace."
                )

    # -- text

    def extra_repr(self) -> str:
        """What stands between the parentheses."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [_indented(f"({name}): {child!r}") for name, child in self._modules.items()]
        head = extra.split("\n") if extra else []
        if not lines and len(head) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(head + lines) + "\n)"

    def __dir__(self) -> list[str]:
        names = itertools.chain(dir(type(self)), self.__dict__)
        return sorted({name for name in names if not name[:1].isdigit()})


def _type_name(entry: Any) -> str:
    """The name of a value's type as torch writes it."""
    kind = type(entry)
    if kind is Tensor:
        return str(entry.type())
    if kind.__module__ == "builtins":
        return kind.__name__
    package, _, rest = kind.__module__.partition(".")
    return f"{'torch' if package == PACKAGE else package}.{rest}.{kind.__qualname__}".replace("..", ".")


def _after(module: Module, hook: Any, options: dict[str, bool], arguments: Any, keywords: dict[str, Any], out: Any) -> Any:
    changed = hook(module, arguments, keywords, out) if options["with_kwargs"] else hook(module, arguments, out)
    return out if changed is None else changed


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
