"""torch's objects as lazytorch's: tensors with their strides, types, and functions, also those that say `torch` inside."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

import lazytorch

DTYPES = {getattr(torch, name): getattr(lazytorch, name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64")}
DTYPES |= {getattr(torch, name): getattr(lazytorch, name) for name in ("float16", "bfloat16", "float32", "float64")}
DTYPES |= {getattr(torch, name): getattr(lazytorch, name) for name in ("complex64", "complex128")}
NAMES: dict[Any, str] = {}
"""Names of torch functions that call themselves otherwise."""
_SPACES = {"": "", "nn.functional": "", "nn": "", "_C._nn": "", "linalg": "linalg_", "special": "special_", "fft": "fft_"}
"""Where torch has functions, and what it puts before their own names."""
NUMPY_DTYPES = {torch.bfloat16: torch.float32}


class OutOfScope(Exception):
    """A sample that uses what the score leaves out (a sparse tensor, another device, a stream)."""


def resolve(name: str, root: Any = lazytorch, *default: Any) -> Any:
    """`resolve("nn.functional.relu")`: the object of that name, else the default. Raises AttributeError without one."""
    return functools.reduce(lambda found, part: getattr(found, part, *default), name.split("."), root)


def leaves(value: Any) -> Iterator[Any]:
    """Everything in nested sequences and dictionaries, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size | lazytorch.Size):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """Nested sequences and dictionaries with every leaf replaced."""
    if isinstance(value, dict):
        return {key: replaced(item, change) for key, item in value.items()}
    if isinstance(value, torch.Size | torch.nn.utils.rnn.PackedSequence) or not isinstance(value, tuple | list):
        return change(value)
    items = [replaced(item, change) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def copied(value: Any) -> Any:
    """A torch tensor with the same elements and strides in storage of its own; anything else as it is."""
    if not isinstance(value, torch.Tensor) or isinstance(value, torch.nn.Parameter):
        return value
    check_scope(value)
    span = torch.as_strided(value.detach(), (_span(value),), (1,), value.storage_offset()).clone()
    return torch.as_strided(span, value.shape, value.stride(), 0).detach().requires_grad_(value.requires_grad)


def check_scope(x: torch.Tensor) -> None:
    """Raises OutOfScope unless the tensor is dense, real and on the CPU."""
    if x.layout is not torch.strided or x.is_quantized or x.is_nested or x.dtype not in DTYPES:
        raise OutOfScope(f"a tensor of layout {x.layout} and type {x.dtype}")
    if x.is_complex():
        raise OutOfScope("complex numbers")
    if x.device.type != "cpu":
        raise OutOfScope(f"the device {x.device}")


def _span(x: torch.Tensor) -> int:
    """Elements of storage from a tensor's first to its last."""
    return 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True)) if x.numel() else 0


def tensor_of(x: torch.Tensor) -> Any:
    """A torch tensor as lazytorch's: elements, type, strides, requires_grad."""
    check_scope(x)
    source = x.detach()
    flat = torch.as_strided(source, (_span(x),), (1,), x.storage_offset())
    array = flat.to(NUMPY_DTYPES.get(x.dtype, x.dtype), copy=True).numpy()
    made = lazytorch.from_numpy(array).to(DTYPES[x.dtype])
    if tuple(x.shape) != (made.numel(),):
        made = made.reshape(x.shape) if x.is_contiguous() else made.as_strided(tuple(x.shape), x.stride())
    return made.detach().requires_grad_() if x.requires_grad else made


def convert(value: Any) -> Any:
    """A leaf of a sample (see `replaced`) in lazytorch."""
    if isinstance(value, torch.nn.Parameter):
        return lazytorch.nn.Parameter(tensor_of(value))
    if isinstance(value, torch.Tensor):
        return tensor_of(value)
    if isinstance(value, torch.dtype):
        return DTYPES[value]
    if isinstance(value, torch.Size):
        return lazytorch.Size(value)
    if isinstance(value, torch.device):
        return lazytorch.device(str(value))
    if isinstance(value, torch.memory_format | torch.layout):
        return resolve(str(value).removeprefix("torch."))
    if isinstance(value, torch.Generator):
        return lazytorch.Generator().manual_seed(value.initial_seed())
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return lazytorch.nn.utils.rnn.PackedSequence(*[None if part is None else convert(part) for part in value])
    if isinstance(value, torch.nn.Module):
        return _module_of(value)
    if isinstance(value, torch.Stream):
        raise OutOfScope("streams")
    if callable(value):
        return function_of(value)
    return value


_OF_EVERY_MODULE = frozenset(vars(torch.nn.Module()))


def _module_of(module: torch.nn.Module) -> Any:
    """A module as an argument of another one (a layer of an encoder), with its attributes and children."""
    made = object.__new__(resolve(f"nn.{type(module).__name__}"))
    lazytorch.nn.Module.__init__(made)
    for name, value in vars(module).items():
        if name not in _OF_EVERY_MODULE:
            setattr(made, name, replaced(value, convert))
    for name, parameter in module._parameters.items():
        made.register_parameter(name, None if parameter is None else convert(parameter))
    for name, buffer in module._buffers.items():
        made.register_buffer(name, None if buffer is None else convert(buffer))
    for name, child in module._modules.items():
        made.add_module(name, None if child is None else _module_of(child))
    return made


def function_of(function: Any) -> Any:
    """lazytorch's counterpart of a torch function, or torch's test function with `torch` meaning lazytorch in it."""
    if isinstance(function, functools.partial):
        keywords = {key: convert(value) for key, value in function.keywords.items()}
        return functools.partial(function_of(function.func), *map(convert, function.args), **keywords)
    home = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", "")
    if function in NAMES:
        return resolve(NAMES[function])
    if home.startswith("torch.testing") and isinstance(function, types.FunctionType):
        return _with_lazytorch(function)
    if name and getattr(torch.Tensor, name, None) is function:
        return getattr(lazytorch.Tensor, name)
    for space, prefix in _SPACES.items():
        short = name.removeprefix(prefix)
        if getattr(resolve(space, torch) if space else torch, short, None) is function:
            return resolve(f"{space.replace('_C._nn', 'nn.functional')}.{short}".lstrip("."))
    if home.startswith("torch"):
        raise AttributeError(f"no counterpart of {home}.{name}")
    return function


def _with_lazytorch(function: types.FunctionType) -> Callable[..., Any]:
    if function.__name__ == "wrapper_set_seed":
        return _seeded
    cells = tuple([types.CellType(_counterpart(cell.cell_contents)) for cell in function.__closure__ or ()])
    spaces = {name: _counterpart(function.__globals__[name]) for name in _names(function.__code__, function.__globals__)}
    made = types.FunctionType(
        function.__code__, {"__builtins__": __builtins__, **spaces}, function.__name__, function.__defaults__, cells
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _names(code: types.CodeType, spaces: dict[str, Any]) -> set[str]:
    """Global names that a function and the functions in it may read."""
    found = {name for name in code.co_names if name in spaces}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant, spaces)
    return found


def _counterpart(value: Any) -> Any:
    if isinstance(value, types.ModuleType):
        if value is torch:
            return lazytorch
        name = value.__name__
        return resolve(name.removeprefix("torch.")) if name.startswith("torch.nn") else value
    if isinstance(value, torch.Tensor | torch.dtype | torch.device | torch.Size) or callable(value):
        return lazytorch.Tensor if value is torch.Tensor else convert(value)
    return value


def _seeded(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """torch's `wrapper_set_seed`: the function under one seed."""
    lazytorch.manual_seed(42)
    return function(*arguments, **keywords)
