"""Checks of one entry of torch's operator database: the same calls in torch and in lazytorch, compared."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db

import lazytorch
from tests.conformance.comparison import Different, Outcome, compare, compare_errors, outcome_of
from tests.conformance.conversion import NAMES, OutOfScope, convert, copied, function_of, leaves, replaced, resolve
from tests.conformance.exclusions import NO_ERRORS, ORDER_OF_EQUALS, UNDEFINED_NUMBERS, UP_TO_SIGN

CHECKS = ("forward", "gradient", "in-place", "out", "promotion", "error")
TYPES = (torch.float32, torch.float64, torch.int64, torch.bool)
SECONDS = 20  # a call that takes longer has failed


@dataclass(frozen=True)
class Result:
    """One comparison: of which name, in which check, on which sample; what differs, if anything."""

    name: str
    check: str
    sample: str
    failure: str | None


def entries(name: str) -> list[Any]:
    """The entries of the database under a name."""
    found = [info for info in op_db if info.name == name]
    for info in found:
        for known in (info, *info.aliases):
            if resolve(known.name, torch, None) is known.op:
                NAMES[known.op] = known.name
    return found


def spread(items: list[Any], count: int) -> list[Any]:
    """`count` of the items, from all parts of the list."""
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def check_operator(name: str, most: int, checks: tuple[str, ...] = CHECKS) -> Iterator[Result]:
    """All comparisons of a name; `most` samples of each element type."""
    for info in entries(name):
        variant = f"{info.variant_test_name} " if info.variant_test_name else ""
        for check in checks:
            for sample, run in _CHECKS[check](info, most):
                failure = _failure(run)
                if failure != "":
                    yield Result(name, check, f"{variant}{sample}", failure)


def _failure(run: Callable[[], None]) -> str | None:
    """What is different, None if nothing is, "" for what is out of scope."""

    def stop(*_: Any) -> None:
        raise Different(f"takes more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        run()
    except OutOfScope:
        return ""
    except Different as error:
        return str(error)
    finally:
        signal.alarm(0)
        was_enabled = lazytorch.is_grad_enabled()
        lazytorch.set_grad_enabled(True)
    return None if was_enabled else "gradients stay disabled"


def _samples(info: Any, dtype: torch.dtype, most: int, requires_grad: bool = False) -> list[Any]:
    if dtype not in info.supported_dtypes("cpu"):
        return []
    torch.manual_seed(0)
    return spread(list(info.sample_inputs("cpu", dtype, requires_grad=requires_grad)), most)


def _label(dtype: torch.dtype, sample: Any, form: str = "") -> str:
    text = f"{str(dtype).removeprefix('torch.')} {form}{sample.summary().removeprefix('SampleInput')}"
    for noise in (', device="cpu"', ", broadcasts_input=False", ", name=''", "torch."):
        text = text.replace(noise, "")
    return text


def _both(function: Any, sample: Any, finish: Any = None) -> tuple[Outcome, Outcome]:
    """The sample's call in lazytorch and in torch. finish: done to both results."""
    everything = (sample.input, sample.args, sample.kwargs)
    x, arguments, keywords = replaced(everything, copied)
    y, own, named = replaced(everything, convert_scoped)

    def theirs() -> Any:
        torch.manual_seed(1)
        value = function(x, *arguments, **keywords)
        return finish(value) if finish else value

    def mine() -> Any:
        lazytorch.manual_seed(1)
        value = function_of(function)(y, *own, **named)
        return function_of(finish)(value) if finish else value

    want = outcome_of(theirs)
    for leaf in leaves(want.value):
        if isinstance(leaf, torch.Tensor):
            copied(leaf)  # a result may be out of scope, too
    return outcome_of(mine), want


def convert_scoped(value: Any) -> Any:
    """`convert`; that a counterpart is missing is found when the function is called."""
    try:
        return convert(value)
    except AttributeError as error:
        return _Missing(str(error))


class _Missing:
    """Stands for an argument that lazytorch has no counterpart of."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        raise AttributeError(self.text)


Case = tuple[str, Callable[[], None]]


def _forward(info: Any, most: int) -> Iterator[Case]:
    numbers = info.name not in UNDEFINED_NUMBERS

    def run(function: Any, sample: Any) -> Callable[[], None]:
        finish = sample.output_process_fn_grad if info.name in UP_TO_SIGN else None
        if info.name in ORDER_OF_EQUALS and not _is_floating(sample.input):
            finish = _values
        return lambda: compare(*_both(function, sample, finish), numbers)

    for dtype in TYPES:
        samples = _samples(info, dtype, most)
        for sample in samples:
            yield _label(dtype, sample), run(info.op, sample)
        for form, function in (("method ", info.method_variant), ("operator ", info.operator_variant)):
            for sample in spread(samples, 3) if function is not None else ():
                yield _label(dtype, sample, form), run(function, sample)
    for alias in info.aliases:
        for sample in _samples(info, torch.float32, 2):
            yield _label(torch.float32, sample, f"as {alias.name} "), run(alias.op, sample)


def _values(outcome: Any) -> Any:
    """What is not an index in (values, indices)."""
    return outcome[0] if isinstance(outcome, tuple) else None


def _gradient(info: Any, most: int) -> Iterator[Case]:
    if not info.supports_autograd:
        return
    for sample in _samples(info, torch.float64, most, requires_grad=True):
        yield _label(torch.float64, sample), lambda sample=sample: compare_gradients(info.op, sample)


def compare_gradients(function: Any, sample: Any) -> None:
    """Gradients of all inputs, for the same cotangents."""
    everything = (sample.input, sample.args, sample.kwargs)
    inputs = replaced(everything, copied)
    own = replaced(everything, convert_scoped)

    def gradients(library: Any, call: Any, finish: Any, inputs: Any) -> Any:
        library.manual_seed(1)
        value = finish(call(inputs[0], *inputs[1], **inputs[2]))
        outputs = [x for x in leaves(value) if isinstance(x, library.Tensor) and x.requires_grad]
        ends = [x for x in leaves(inputs) if isinstance(x, library.Tensor) and x.requires_grad]
        total = sum([(x * _weights(library, x)).sum() for x in outputs])
        return list(library.autograd.grad(total, ends, allow_unused=True))

    want = outcome_of(lambda: gradients(torch, function, sample.output_process_fn_grad, inputs))
    if want.error is not None:
        raise OutOfScope("torch has no gradient of it")
    mine = outcome_of(lambda: gradients(lazytorch, function_of(function), function_of(sample.output_process_fn_grad), own))
    compare(mine, want)


def _weights(library: Any, x: Any) -> Any:
    """Cotangents: fixed numbers of no pattern."""
    count = x.numel()
    return (library.arange(count, dtype=library.float64) * 0.7 + 0.3).sin().reshape(tuple(x.shape)).to(x.dtype)


def _in_place(info: Any, most: int) -> Iterator[Case]:
    forms = (("", info.inplace_variant), ("operator ", info.inplace_operator_variant))
    for dtype in TYPES:
        for form, function in forms:
            for sample in spread(_samples(info, dtype, most), 5) if function is not None else ():

                def run(function: Any = function, sample: Any = sample) -> None:
                    compare(*_both(function, sample))

                yield _label(dtype, sample, form), run
    if not (info.supports_autograd and info.supports_inplace_autograd and info.inplace_variant):
        return
    for sample in spread(_samples(info, torch.float64, most, requires_grad=True), 3):

        def on_copy(x: Any, *arguments: Any, **keywords: Any) -> Any:
            return getattr(x.clone(), info.inplace_variant.__name__)(*arguments, **keywords)

        yield _label(torch.float64, sample, "gradient "), lambda f=on_copy, s=sample: compare_gradients(f, s)


def _out(info: Any, most: int) -> Iterator[Case]:
    """`out=` of the right shape, of no elements (it is resized), and of other types (torch casts, or raises)."""
    if not info.supports_out:
        return
    for dtype in TYPES:
        for number, sample in enumerate(spread(_samples(info, dtype, most), 4)):
            forms: list[tuple[str, Any]] = [("", None)]
            if number == 0:
                forms += [("empty ", "empty"), ("float64 ", torch.float64), ("int64 ", torch.int64)]
            for form, how in forms:
                yield _label(dtype, sample, form), lambda s=sample, how=how: _compare_out(info, s, how)


def _compare_out(info: Any, sample: Any, how: Any) -> None:
    everything = (sample.input, sample.args, sample.kwargs)
    torch.manual_seed(1)
    plain = outcome_of(lambda: info.op(*_spelt(replaced(everything, copied))[0], **sample.kwargs))
    if plain.error is not None:
        raise OutOfScope("torch raises")

    def target(x: torch.Tensor) -> torch.Tensor:
        if how == "empty":
            return x.new_empty(0)
        kind = x.dtype if how is None else how
        return torch.zeros(x.shape, dtype=kind)

    out = replaced(plain.value, lambda x: target(x) if isinstance(x, torch.Tensor) else x)
    if not all(isinstance(x, torch.Tensor) for x in leaves(out)):
        raise OutOfScope("a result that is no tensor")
    own = replaced(out, convert)

    def run(library: Any, function: Any, inputs: Any, out: Any) -> Any:
        arguments, keywords = _spelt(inputs)
        library.manual_seed(1)
        value = function(*arguments, **keywords, out=out)
        return [value, [x is y for x, y in zip(leaves(value), leaves(out), strict=True)], out]

    want = outcome_of(lambda: run(torch, info.op, replaced(everything, copied), out))
    mine = outcome_of(lambda: run(lazytorch, function_of(info.op), replaced(everything, convert_scoped), own))
    numbers = info.name not in UNDEFINED_NUMBERS and info.name not in UP_TO_SIGN
    numbers = numbers and (info.name not in ORDER_OF_EQUALS or _is_floating(sample.input))
    compare(mine, want, numbers, 1e4 if how is torch.float64 else 1.0)  # computed in the inputs' type, as in torch


def _spelt(inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a sample's (input, args, kwargs)."""
    return [inputs[0], *inputs[1]], inputs[2]


def _promotion(info: Any, most: int) -> Iterator[Case]:
    """Samples with their first argument tensor, or their input, in another type."""
    samples = [s for s in _samples(info, torch.float32, most) if any(map(_is_floating, leaves((s.args, s.kwargs))))]
    for sample in spread(samples, 2):
        for dtype in (torch.bool, torch.int64, torch.float64):
            for which in ("input", "argument"):
                mixed = _mixed(sample, which, dtype)
                yield _label(dtype, mixed, f"{which} "), lambda s=mixed: compare(*_both(info.op, s), tolerance=1e4)


def _is_floating(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _mixed(sample: Any, which: str, dtype: torch.dtype) -> Any:
    done = False

    def change(x: Any) -> Any:
        nonlocal done
        if done or not _is_floating(x):
            return x
        done = True
        return (x * 3).to(dtype)

    parts = [sample.input, sample.args, sample.kwargs]
    if which == "input":
        parts[0] = replaced(parts[0], change)
    else:
        parts[1:] = replaced(parts[1:], change)
    return type(sample)(parts[0], args=tuple(parts[1]), kwargs=parts[2])


def _error(info: Any, most: int) -> Iterator[Case]:
    if info.error_inputs_func is None or info.name in NO_ERRORS:
        return
    torch.manual_seed(0)
    for wrong in spread(list(info.error_inputs("cpu")), most):
        sample = wrong.sample_input

        def run(sample: Any = sample) -> None:
            mine, want = _both(info.op, sample)
            if want.error is None:
                raise OutOfScope("torch takes it")
            compare_errors(mine, want.error)

        try:
            label = sample.summary().removeprefix("SampleInput")
        except Exception:  # arguments that its own text cannot show
            label = str(wrong.error_regex)
        yield label, run


_CHECKS: dict[str, Callable[[Any, int], Iterator[Case]]] = {
    "forward": _forward,
    "gradient": _gradient,
    "in-place": _in_place,
    "out": _out,
    "promotion": _promotion,
    "error": _error,
}
