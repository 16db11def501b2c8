"""Module, Parameter and the containers (torch.nn.Module)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lazytorch.dtypes import DType
from lazytorch.history import Accumulator, RemovableHandle
from lazytorch.ir.trace import STATE
from lazytorch.printing import format_parameter
from lazytorch.tensor import PACKAGE, Tensor, caller, default_dtype, own_node, realize


class Parameter(Tensor):
    """A tensor that is a module's parameter when it is assigned as an attribute."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        self: Parameter = object.__new__(cls)
        assert data is not None, "a Parameter needs a tensor"
        source = data.detach()
        self._node = own_node(source) if data.requires_grad else source._node
        self._base = None
        self._version_count = 0
        self.grad = None
        if requires_grad:
            self._node = own_node(self)
            self._node.history = Accumulator(self)
        STATE.trace.live.append(self)
        return self

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def _text(self) -> str:
        realize(self, "print")
        return format_parameter(
            self.detach()._array("print"),
            requires_grad=self.requires_grad,
            dtype_name=self.dtype.torch_name,
            default_dtype_name=default_dtype().torch_name,
        )


class _Mirror(OrderedDict[str, Any]):
    """A registry of a module whose entries are plain attributes too: reading one costs no more than any attribute."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        super().__init__()
        self._attributes = attributes

    def __setitem__(self, name: str, entry: Any) -> None:
        super().__setitem__(name, entry)
        self._attributes[name] = entry

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._attributes.pop(name, None)

    def __reduce__(self) -> Any:
        return OrderedDict, (list(self.items()),)


class Module:
    """A part of a network: parameters, buffers, submodules and a forward function."""

    training: bool
    _is_own = True
    """Whether `forward` is the library's: then what it records belongs to the line that called the module."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._is_own = getattr(cls.forward, "__module__", "").partition(".")[0] == PACKAGE

    if TYPE_CHECKING:
        # Parameters, buffers and submodules are attributes too.
        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        attributes = self.__dict__
        attributes["training"] = True
        attributes["_parameters"] = _Mirror(attributes)
        attributes["_buffers"] = _Mirror(attributes)
        attributes["_modules"] = _Mirror(attributes)
        attributes["_transient"] = set()
        attributes["_forward_hooks"] = OrderedDict()
        attributes["_forward_pre_hooks"] = OrderedDict()

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute the output; subclasses define it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if not self._forward_hooks and not self._forward_pre_hooks:
            trace = STATE.trace
            call = trace.call
            if self._is_own is (call is not None):
                return self.forward(*arguments, **keywords)
            trace.call = caller() if call is None else None
            try:
                return self.forward(*arguments, **keywords)
            finally:
                trace.call = call
        return self._call_with_hooks(arguments, keywords)

    def _call_with_hooks(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        trace = STATE.trace
        call, trace.call = trace.call, None  # hooks are the user's code
        try:
            for pre in list(self._forward_pre_hooks.values()):
                changed = pre(self, arguments)
                if changed is not None:
                    arguments = changed if isinstance(changed, tuple) else (changed,)
            out = self.forward(*arguments, **keywords)
            for hook in list(self._forward_hooks.values()):
                changed = hook(self, arguments, out)
                out = out if changed is None else changed
            return out
        finally:
            trace.call = call

    def __setattr__(self, name: str, entry: Any) -> None:
        attributes = self.__dict__
        if isinstance(entry, Parameter | Module) and "_parameters" not in attributes:
            raise AttributeError("cannot assign parameters or modules before Module.__init__() call")
        if isinstance(entry, Parameter):
            self._forget(name)
            self._parameters[name] = entry
        elif isinstance(entry, Module):
            self._forget(name)
            self._modules[name] = entry
        elif "_parameters" in attributes and name in self._parameters:
            if entry is not None:
                raise TypeError(
                    f"cannot assign '{type(entry).__module__}.{type(entry).__name__}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self._parameters[name] = None
        elif "_buffers" in attributes and name in self._buffers:
            self._buffers[name] = entry
        else:
            object.__setattr__(self, name, entry)

    def _forget(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or the place of an absent one)."""
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter."""
        self._buffers[name] = tensor
        if not persistent:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule."""
        self._modules[name] = module

    register_module = add_module

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after every forward."""
        return _hooked(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, inputs)` before every forward."""
        return _hooked(self._forward_pre_hooks, hook)

    # -- walking

    def named_modules(self, memo: set[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, with dotted names."""
        seen = set() if memo is None else memo
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(seen, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules, with names."""
        for name, child in self._modules.items():
            if child is not None:
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, child in self.named_children():
            yield child

    def _named(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, entry in getattr(module, registry).items():
                if entry is not None and id(entry) not in seen:
                    seen.add(id(entry))
                    yield (f"{path}.{name}" if path else name), entry

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters, with dotted names."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers, with dotted names."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # -- changing everything inside

    def train(self, mode: bool = True) -> Module:
        """Training mode, here and in all submodules."""
        for module in self.modules():
            module.__dict__["training"] = mode
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
                parameter.grad.zero_()

    def _convert(self, dtype: DType) -> Module:
        for module in self.modules():
            for registry in (module._parameters, module._buffers):
                for entry in registry.values():
                    if entry is not None and entry.dtype.kind == "f" and entry.dtype is not dtype:
                        entry.data = entry.detach().to(dtype)
        return self

    def to(self, *arguments: Any, **keywords: Any) -> Module:
        """Convert floating parameters and buffers; the only device is the CPU."""
        from lazytorch.runtime.device import Device

        dtype = keywords.get("dtype")
        for argument in (*arguments, keywords.get("device")):
            if isinstance(argument, DType):
                dtype = argument
            elif argument is not None and not isinstance(argument, bool):
                Device(argument).check_usable()
        return self if dtype is None else self._convert(dtype)

    def cpu(self) -> Module:
        """It is there already."""
        return self

    def float(self) -> Module:
        """Parameters and buffers in float32."""
        from lazytorch import dtypes

        return self._convert(dtypes.float32)

    def double(self) -> Module:
        """Parameters and buffers in float64."""
        from lazytorch import dtypes

        return self._convert(dtypes.float64)

    # -- state

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Tensor]:
        """All parameters and persistent buffers by dotted name."""
        out: OrderedDict[str, Tensor] = OrderedDict()
        for path, module in self.named_modules(prefix=prefix.rstrip(".")):
            for registry in (module._parameters, module._buffers):
                for name, entry in registry.items():
                    if entry is not None and name not in module._transient:
                        out[f"{path}.{name}" if path else name] = entry if keep_vars else entry.detach()
        return out

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Copy values into parameters and buffers. Raises RuntimeError listing what does not fit."""
        own = self.state_dict(keep_vars=True)
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and unexpected:
            problems.append("Unexpected key(s) in state_dict: " + ", ".join(f'"{x}"' for x in unexpected) + ". ")
        if strict and missing:
            problems.append("Missing key(s) in state_dict: " + ", ".join(f'"{x}"' for x in missing) + ". ")
        for name, entry in own.items():
            if name in state_dict and state_dict[name].shape != entry.shape:
                problems.append(
                    f"size mismatch for {name}: copying a param with shape {state_dict[name].shape} from checkpoint, "
                    f"the shape in current model is {entry.shape}."
                )
        if problems:
            listed = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        from lazytorch.autograd.modes import no_grad

        with no_grad():
            for name, entry in own.items():
                if name in state_dict:
                    entry.copy_(state_dict[name])
        return Keys(missing, unexpected)

    # -- text

    def extra_repr(self) -> str:
        """What stands between the parentheses."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [_indented(f"({name}): {child!r}") for name, child in self._modules.items()]
        head = extra.split("\n") if extra else []
        if not lines and len(head) <= 1:
            return f"{self._name()}({extra})"
        return f"{self._name()}(\n  " + "\n  ".join(head + lines) + "\n)"

    def _name(self) -> str:
        return type(self).__name__


class Keys:
    """What `load_state_dict` returns."""

    def __init__(self, missing_keys: list[str], unexpected_keys: list[str]) -> None:
        self.missing_keys, self.unexpected_keys = missing_keys, unexpected_keys

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _hooked(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
    key = max(hooks, default=0) + 1
    hooks[key] = hook
    return RemovableHandle(hooks, key)


class Sequential(Module):
    """One module after the other."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return list(self._modules.values())[index]

    def append(self, module: Module) -> Sequential:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self


class ModuleList(Module):
    """A list of modules that are registered."""

    def __init__(self, modules: Any = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        found = list(self._modules.values())[index]
        return ModuleList(found) if isinstance(index, slice) else found
