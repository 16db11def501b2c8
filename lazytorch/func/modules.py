"""Modules as functions of their parameters and buffers (torch.func.functional_call, stack_module_state)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lazytorch.nn.modules.module import Module
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor

_MISSING = object()


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers, given by dotted names.

    args: the positional arguments, a tuple or one of another type. tie_weights: tensors that the module has under several
        names are replaced under all of them. strict: every parameter and buffer must be given, and nothing else.
    What the module writes to its buffers is found in the dictionaries afterwards. Raises ValueError for names that are
    given twice, RuntimeError (strict) for missing and unknown ones.
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        if not all(isinstance(each, dict) for each in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        count = Counter(name for each in parameter_and_buffer_dicts for name in each)
        repeated = [name for name, number in count.items() if number > 1]
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {name: x for each in parameter_and_buffer_dicts for name, x in each.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*positional, **(kwargs or {}))


@contextmanager
def _replaced(module: Module, given: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """The module has these tensors within the block."""
    replaced = _tied(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, replaced)
    before: dict[str, Any] = {}
    try:
        for name, x in replaced.items():
            before[name] = _swap(module, name, x)
        yield
    finally:
        for name in reversed(before):
            after = _swap(module, name, before[name])
            if name in given and after is not _MISSING:
                given[name] = after


def _swap(module: Module, target: str, new: Any) -> Any:
    """Put a tensor at a dotted name; what was there."""
    path, _, name = target.rpartition(".")
    owner: Any = module.get_submodule(path)
    if new is not _MISSING and new is not None and not isinstance(new, Tensor):
        raise TypeError(f"{new} is not an instance of torch.Tensor")
    registry = next((each for each in (owner._parameters, owner._buffers) if name in each), None)
    before = registry[name] if registry is not None else getattr(owner, name, _MISSING)
    if registry is not None:
        registry[name] = new
    elif new is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, new)
    return before


def _names(module: Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters(remove_duplicate=False))
    return {**named, **dict(module.named_buffers(remove_duplicate=False))}


def _tied(module: Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The given tensors under all names that the module has for the same tensor."""
    groups: dict[int, list[str]] = {}
    for name, x in _names(module).items():
        groups.setdefault(id(x), []).append(name)
    out = dict(given)
    for names in groups.values():
        own = [name for name in names if name in given]
        if len({id(given[name]) for name in own}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                "tie_weights=False"
            )
        for name in names if own else ():
            out[name] = given[own[0]]
    return out


def _check_names(module: Module, given: Mapping[str, Tensor]) -> None:
    known = _names(module)
    unexpected = [name for name in given if name not in known]
    missing = [name for name in known if name not in given]
    problems = [f"Unexpected key(s): {', '.join(map(repr, unexpected))}."] if unexpected else []
    problems += [f"Missing key(s): {', '.join(map(repr, missing))}."] if missing else []
    if problems:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems))


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of several modules of one class, stacked along a new first dimension, by name.

    Stacked parameters are leaves of their own, which an optimizer can take. Raises RuntimeError for no modules, or ones of
    different classes or modes.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(model) for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return _stacked(parameters), _stacked(buffers)


def _stacked(named: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    out = {}
    for name in named[0]:
        several = [each[name] for each in named]
        tracked = {x.requires_grad for x in several}
        if len(tracked) > 1:
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        whole = FUNCTIONS["stack"](several)
        out[name] = whole.detach().requires_grad_() if tracked == {True} else whole
    return out
