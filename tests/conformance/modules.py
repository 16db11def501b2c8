"""Checks of one entry of torch's module database: the same module under the same seed in torch and in lazytorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import lazytorch
from tests.conformance.comparison import Outcome, compare, compare_errors, outcome_of
from tests.conformance.conversion import OutOfScope, convert, copied, leaves, replaced, resolve
from tests.conformance.operators import Case, Result, _failure, _weights, spread

TYPES = (torch.float32, torch.float64)


def check_module(name: str, most: int, checks: tuple[str, ...]) -> Iterator[Result]:
    """All comparisons of a module's entry; `most` inputs of each element type and mode."""
    for info in [info for info in module_db if info.name == name]:
        for check in checks:
            for sample, run in _CHECKS[check](info, most) if check in _CHECKS else ():
                failure = _failure(run)
                if failure != "":
                    yield Result(name, check, sample, failure)


def _inputs(info: Any, dtype: torch.dtype, training: bool, requires_grad: bool, most: int) -> list[Any]:
    if dtype not in info.dtypes:
        return []
    torch.manual_seed(0)
    made = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training)
    return spread([x for x in made if x.forward_input is not None], most)


def _run(library: Any, build: Any, change: Any, sample: Any, dtype: Any, training: bool, backward: bool) -> Any:
    """The module's initial and final state, its outputs, and gradients of the inputs and parameters."""
    library.manual_seed(1)
    arguments, keywords = (replaced(x, change) for x in (sample.constructor_input.args, sample.constructor_input.kwargs))
    module = build(*arguments, **keywords).to(dtype).train(training)
    before = {key: x.clone() for key, x in module.state_dict().items()}
    inputs = [replaced(x, change) for x in (list(sample.forward_input.args), sample.forward_input.kwargs)]
    library.manual_seed(2)
    value = module(*inputs[0], **inputs[1])
    tensors = [x for x in leaves(value) if isinstance(x, library.Tensor)]
    if not backward:
        return [list(before), list(before.values()), list(module.state_dict().values()), tensors, repr(module)]
    total = sum([(x * _weights(library, x)).sum() for x in tensors if x.requires_grad])
    ends = [x for x in leaves(inputs) if isinstance(x, library.Tensor) and x.requires_grad]
    return list(library.autograd.grad(total, [*ends, *module.parameters()], allow_unused=True))


def _compare(info: Any, sample: Any, dtype: torch.dtype, training: bool, backward: bool) -> None:
    mine, want = _both(info, sample, dtype, training, backward)
    if backward and want.error is not None:
        raise OutOfScope("torch has no gradient of it")
    compare(mine, want)


def _both(info: Any, sample: Any, dtype: torch.dtype, training: bool, backward: bool) -> tuple[Outcome, Outcome]:
    own = convert(dtype)
    want = outcome_of(lambda: _run(torch, info.module_cls, copied, sample, dtype, training, backward))
    mine = outcome_of(
        lambda: _run(lazytorch, resolve(f"nn.{info.module_cls.__name__}"), convert, sample, own, training, backward)
    )
    return mine, want


def _cases(info: Any, most: int, backward: bool) -> Iterator[Case]:
    for dtype in (torch.float64,) if backward else TYPES:
        for training in (True, False) if info.train_and_eval_differ else (True,):
            for number, sample in enumerate(_inputs(info, dtype, training, backward, most)):
                mode = "training" if training else "eval"
                label = f"{str(dtype).removeprefix('torch.')} {mode} {number} {sample.desc}"

                def run(sample: Any = sample, dtype: torch.dtype = dtype, training: bool = training) -> None:
                    _compare(info, sample, dtype, training, backward)

                yield label, run


def _error(info: Any, most: int) -> Iterator[Case]:
    if info.module_error_inputs_func is None:
        return
    torch.manual_seed(0)
    wrong = info.module_error_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=True)
    for case in spread(list(wrong), most):
        sample = case.module_error_input

        def run(sample: Any = sample, early: bool = case.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR) -> None:
            if early:
                sample.forward_input = type(sample.constructor_input)()
            mine, want = _both(info, sample, torch.float32, True, False)
            if want.error is None:
                raise OutOfScope("torch takes it")
            compare_errors(mine, want.error)

        yield str(case.error_regex), run


_CHECKS: dict[str, Callable[[Any, int], Iterator[Case]]] = {
    "forward": lambda info, most: _cases(info, most, False),
    "gradient": lambda info, most: _cases(info, most, True),
    "error": _error,
}
