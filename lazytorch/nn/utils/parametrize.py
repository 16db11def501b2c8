"""Parameters that are functions of others, computed when they are read (torch.nn.utils.parametrize)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

from lazytorch.autograd.modes import no_grad
from lazytorch.nn.modules.container import ModuleDict, ModuleList
from lazytorch.nn.modules.module import Module
from lazytorch.nn.parameter import Parameter
from lazytorch.tensor import Tensor

_caching = [0]
_cache: dict[tuple[int, str], Any] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within the block every parametrised tensor is computed once."""
    _caching[0] += 1
    try:
        yield
    finally:
        _caching[0] -= 1
        if not _caching[0]:
            _cache.clear()


def _register(owner: Module, name: str, tensor: Tensor | None) -> None:
    if isinstance(tensor, Parameter):
        owner.register_parameter(name, tensor)
    else:
        owner.register_buffer(name, tensor)


class ParametrizationList(ModuleList):
    """The functions of one parametrised tensor, and the tensor (or tensors) they start from."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            new = original
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with contextlib.suppress(NotImplementedError):
                        new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        if not self.is_tensor and not isinstance(new, Sequence):
            raise ValueError(
                f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}"
            )
        parts = [new] if self.is_tensor else list(new)
        self.ntensors = len(parts)
        for number, part in enumerate(parts):
            if self.is_tensor:
                name, kept = "original", original
                if part is not original:
                    with no_grad():
                        kept.data = part
            else:
                name, kept = f"original{number}", part
                if isinstance(original, Parameter):
                    kept = Parameter(part, original.requires_grad)
            _register(self, name, kept)
        self._check(original)

    def _check(self, original: Tensor) -> None:
        """The functions may not change shape or element type, unless they are called unsafe."""
        if self.unsafe:
            return
        out = self()
        if not isinstance(out, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(out).__name__}.")
        if out.dtype is not original.dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless `unsafe` flag is enabled.\n"
                f"unparametrized dtype: {original.dtype}\nparametrized dtype: {out.dtype}"
            )
        if out.shape != original.shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless `unsafe` flag is enabled.\n"
                f"unparametrized shape: {original.shape}\nparametrized shape: {out.shape}"
            )

    def originals(self) -> list[Any]:
        """What the functions start from."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{number}") for number in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Change the originals so that the functions give the value."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            parts = [value] if self.is_tensor else list(value)
            for own, part in zip(self.originals(), parts, strict=True):
                own.data = part

    def forward(self) -> Any:
        first, *others = list(self)
        x = first(*self.originals())
        for module in others:
            x = module(x)
        return x


def _inject_class(module: Module) -> None:
    cls = type(module)
    original = cls

    def reduce(self: Module, protocol: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    def copied(self: Module, memo: dict[int, Any]) -> Module:
        """A copy of the instance of the same (parametrised) class."""
        out = object.__new__(type(self))
        memo[id(self)] = out
        state = copy.deepcopy(self.__getstate__(), memo)
        out.__setstate__(state)
        return out

    scope = {"__deepcopy__": copied, "__reduce_ex__": reduce, "_unparametrized": original, "__module__": cls.__module__}
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), scope)


def _inject_property(module: Module, name: str) -> None:
    def get(self: Module) -> Any:
        parametrization = self.parametrizations[name]
        if not _caching[0]:
            return parametrization()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def write(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, write))


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Make a parameter or buffer of the module the value of a function of it; several are applied one after the other."""
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        found = module.parametrizations[tensor_name]
        value = getattr(module, tensor_name)
        if hasattr(parametrization, "right_inverse"):
            with contextlib.suppress(NotImplementedError), no_grad():
                value = parametrization.right_inverse(value)
                found.right_inverse(value)
        found.append(parametrization)
        found.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'"
        )
    original = getattr(module, tensor_name)
    made = ParametrizationList([parametrization], original, unsafe=unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(module, tensor_name)
    module.parametrizations[tensor_name] = made
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrised tensor (of a name)."""
    found = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make the present value (or the original) of a parametrised tensor a plain parameter or buffer again."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    found = module.parametrizations[tensor_name]
    originals = found.originals()
    original = originals[0]
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if found.is_tensor:
            with no_grad():
                original.data = value.detach().clone()
        else:
            wants = any(x.requires_grad for x in originals)
            original = Parameter(value.detach().clone(), wants) if isinstance(original, Parameter) else value
    elif not found.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence "
            "of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type_before_parametrizations(module)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class before it was parametrised."""
    found: type = vars(type(module)).get("_unparametrized", type(module))
    return found
