"""torch.testing: whether results are as close as their element types let one expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lazytorch as torch
from lazytorch.dtypes import DType
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor

_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}
"""torch's default (rtol, atol) by element type; 0 for others."""

Message = str | Callable[[str], str] | None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Message = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol |expected| for all elements of both, which may be
    tensors, numbers, sequences or mappings. Raises ValueError for one tolerance without the other."""
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_device": check_device, "check_dtype": check_dtype}
    found = _difference(actual, expected, options, "")
    if found:
        raise AssertionError(msg(found) if callable(msg) else found if msg is None else msg)


def _difference(actual: Any, expected: Any, options: dict[str, Any], where: str) -> str:
    """What differs, or nothing."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if actual.keys() != expected.keys():
            return f"The keys of the mappings do not match{where}"
        pairs = [(actual[key], expected[key], f" (item {key!r})") for key in expected]
    elif isinstance(expected, Sequence) and isinstance(actual, Sequence) and not isinstance(expected, str):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}{where}"
        pairs = [(a, b, f" (item [{i}])") for i, (a, b) in enumerate(zip(actual, expected, strict=True))]
    else:
        return _tensor_difference(actual, expected, options, where)
    return next((text for a, b, place in pairs if (text := _difference(a, b, options, where + place))), "")


def _of_number(x: Any) -> Tensor:
    return FUNCTIONS["tensor"](x, dtype=torch.float64) if isinstance(x, float) else torch.as_tensor(x)


def _tensor_difference(actual: Any, expected: Any, options: dict[str, Any], where: str) -> str:
    numbers = not (isinstance(actual, Tensor) or isinstance(expected, Tensor))
    a, b = (x.detach() if isinstance(x, Tensor) else _of_number(x) for x in (actual, expected))
    if isinstance(actual, Tensor) is not isinstance(expected, Tensor):
        return f"{type(actual).__name__} and {type(expected).__name__} cannot be compared{where}"
    if a.shape != b.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.{where}"
    if options["check_device"] and a.device != b.device:
        return f"The values for attribute 'device' do not match: {a.device} != {b.device}.{where}"
    if a.dtype is not b.dtype:
        if options["check_dtype"] and not numbers:
            return f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.{where}"
        kind = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(kind), b.to(kind)
    rtol, atol = _tolerances(a.dtype, numbers, options)
    close = torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=options["equal_nan"])
    wrong = int((~close).sum())
    if not wrong:
        return ""
    what, count = "Scalars" if numbers else "Tensor-likes", a.numel()
    if a.dtype.kind == "b":
        return f"{what} are not equal!\n\nMismatched elements: {wrong} / {count} ({wrong / count:.1%}){where}"
    size = (a - b).abs()
    return (
        f"{what} are not {'equal' if rtol == atol == 0 else 'close'}!\n\n"
        f"Mismatched elements: {wrong} / {count} ({wrong / count:.1%})\n"
        f"Greatest absolute difference: {size.max().item()} (up to {atol} allowed)\n"
        f"Greatest relative difference: {(size / b.abs()).max().item()} (up to {rtol} allowed){where}"
    )


def _tolerances(dtype: DType, numbers: bool, options: dict[str, Any]) -> tuple[float, float]:
    if options["rtol"] is not None:
        return options["rtol"], options["atol"]
    name = "float64" if numbers and dtype.is_floating_point else dtype.torch_name
    return _TOLERANCES.get(name, (0.0, 0.0))


def assert_allclose(
    actual: Any, expected: Any, rtol: Any = None, atol: Any = None, equal_nan: bool = True, msg: str = ""
) -> None:
    """The older name of `assert_close`, which does not look at element types."""
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


__all__ = ["assert_allclose", "assert_close"]
