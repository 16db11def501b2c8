"""State dicts of modules: what one module saves, and how it takes values back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lazytorch.autograd.modes import no_grad
from lazytorch.nn.parameter import Parameter, is_lazy
from lazytorch.tensor import Tensor

if TYPE_CHECKING:
    from lazytorch.nn.modules.module import Module

_EXTRA = "_extra_state"


class StateDict(OrderedDict[str, Any]):
    """Tensors by dotted name, with each module's version in `_metadata`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._metadata: OrderedDict[str, dict[str, Any]] = OrderedDict()


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


def _has_extra_state(module: Module) -> bool:
    """Whether the class (not Module itself) defines further state."""
    for cls in type(module).__mro__:
        if "get_extra_state" in vars(cls):
            return cls.__name__ != "Module" or cls.__module__ != __name__.replace(".state", ".module")
    return False


def save_from(module: Module, destination: Any, prefix: str, keep_vars: bool) -> None:
    """Put a module's own parameters and persistent buffers into a state dict."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            destination[prefix + name] = parameter if keep_vars else parameter.detach()
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            destination[prefix + name] = buffer if keep_vars else buffer.detach()
    if _has_extra_state(module):
        destination[prefix + _EXTRA] = module.get_extra_state()


def load_into(
    module: Module,
    state_dict: Mapping[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Give a module's own parameters and buffers their values, and note what is missing, unexpected or wrong."""
    assign = local_metadata.get("assign_to_params_buffers", False)
    entries = dict(module._parameters)
    entries |= {name: x for name, x in module._buffers.items() if name not in module._non_persistent_buffers_set}
    for name, own in entries.items():
        if own is None:
            continue
        key = prefix + name
        if key not in state_dict:
            if strict:
                missing.append(key)
            continue
        problem = _take(module, name, own, state_dict[key], key, assign)
        if problem:
            errors.append(problem)
    if _has_extra_state(module):
        if prefix + _EXTRA in state_dict:
            module.set_extra_state(state_dict[prefix + _EXTRA])
        elif strict:
            missing.append(prefix + _EXTRA)
    elif strict and prefix + _EXTRA in state_dict:
        unexpected.append(prefix + _EXTRA)
    if strict:
        unexpected.extend(_unknown(module, state_dict, prefix, set(entries)))


def _unknown(module: Module, state_dict: Mapping[str, Any], prefix: str, names: set[str]) -> list[str]:
    out = []
    for key in state_dict:
        if key.startswith(prefix) and key != prefix + _EXTRA:
            first, _, rest = key[len(prefix) :].partition(".")
            known = first in module._modules if rest else first in module._modules or first in names
            if not known:
                out.append(key)
    return out


def _take(module: Module, name: str, own: Any, given: Any, key: str, assign: bool) -> str | None:
    """Copy (or take over) one value; the complaint if it does not fit."""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint but '
            f"received {type(given)}"
        )
    if is_lazy(own):
        own.materialize(given.shape)
    if not own.shape and tuple(given.shape) == (1,):
        given = given[0]
    if given.shape != own.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, the shape in current "
            f"model is {own.shape}."
        )
    try:
        with no_grad():
            if not assign:
                own.copy_(given)
            elif isinstance(own, Parameter):
                setattr(module, name, given if isinstance(given, Parameter) else Parameter(given, own.requires_grad))
            else:
                setattr(module, name, given)
    except Exception as error:
        return (
            f'While copying the parameter named "{key}", whose dimensions in the model are {own.shape} and whose '
            f"dimensions in the checkpoint are {given.shape}, an exception occurred : {error.args}."
        )
    return None
