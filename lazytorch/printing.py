"""How tensors and sizes are written: the text of `print(tensor)`, character for character what torch prints.

The front end computes the values and hands over a NumPy array; nothing here knows about graphs. Only the elements that
are shown are looked at, so a summarised tensor costs the same at any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "PrintOptions",
    "format_parameter",
    "format_size",
    "format_tensor",
    "get_printoptions",
    "printoptions",
    "set_printoptions",
]


@dataclass(slots=True)
class PrintOptions:
    """How numbers are laid out; the fields and defaults are those of `torch.set_printoptions`.

    precision: digits after the point. threshold: more elements than this are summarised. edgeitems: elements shown at
    each end of a summarised dimension. linewidth: columns before a line is broken. sci_mode: scientific notation always
    (True), never (False) or where the numbers ask for it (None).
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}

_current = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors are printed from now on; what is left out stays as it is.

    `profile` is one of 'default', 'short' and 'full' and is applied first. As in torch, `sci_mode` is set by every
    call: leaving it out returns to choosing automatically.
    """
    global _current
    chosen = replace(_PROFILES.get(profile, _current)) if profile is not None else replace(_current)
    if precision is not None:
        chosen.precision = precision
    if threshold is not None:
        chosen.threshold = threshold
    if edgeitems is not None:
        chosen.edgeitems = edgeitems
    if linewidth is not None:
        chosen.linewidth = linewidth
    chosen.sci_mode = sci_mode
    _current = chosen


def get_printoptions() -> dict[str, Any]:
    """The options in force, as keyword arguments for `set_printoptions`."""
    return asdict(_current)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print with these options for a block; takes the arguments of `set_printoptions`.

    >>> with printoptions(precision=2):
    ...     print(format_tensor(np.array([1.12345], dtype=np.float32)))
    tensor([1.12])
    """
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


def format_size(shape: Sequence[int]) -> str:
    """The text of a `torch.Size`.

    >>> format_size((2, 3))
    'torch.Size([2, 3])'
    """
    return f"torch.Size({[int(extent) for extent in shape]})"


def format_tensor(
    array: np.ndarray,
    *,
    dtype_name: str | None = None,
    default_dtype_name: str = "float32",
    device: str | None = None,
    grad_fn_name: str | None = None,
    requires_grad: bool = False,
    class_name: str = "tensor",
    options: PrintOptions | None = None,
) -> str:
    """The text of a tensor that holds `array`'s values.

    `dtype_name` is torch's name of the element type without 'torch.' (default: the array's own). bfloat16 values come
    as float32 numbers or as their uint16 bit patterns. `device` ('cuda:0') is given where it is not the default;
    `grad_fn_name` is the class of the node that made the tensor ('MulBackward0') and takes precedence over
    `requires_grad`. `class_name` is the word before the parenthesis for subclasses. `options`: those in force.

    >>> format_tensor(np.array([[1.0, 2.5]]), grad_fn_name="MulBackward0")
    'tensor([[1.0000, 2.5000]], dtype=torch.float64, grad_fn=<MulBackward0>)'
    """
    options = _current if options is None else options
    dtype_name = array.dtype.name if dtype_name is None else dtype_name
    if dtype_name == "bfloat16" and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    prefix = f"{class_name}("
    suffixes = [] if device is None else [f"device='{device}'"]
    if array.size == 0:
        text = "[]"
        if array.ndim != 1:
            suffixes.append(f"size={array.shape}")
        # No element shows that the type is int64 or bool, so any type but the default one is named.
        if dtype_name != default_dtype_name:
            suffixes.append(f"dtype=torch.{dtype_name}")
    else:
        text = _format_elements(array, len(prefix), options)
        if not options.edgeitems:
            suffixes.append(f"size={array.shape}")
        if dtype_name not in _unnamed_dtypes(default_dtype_name):
            suffixes.append(f"dtype=torch.{dtype_name}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, len(prefix), options.linewidth)


def format_parameter(array: np.ndarray, *, requires_grad: bool = True, **arguments: Any) -> str:
    """The text of an `nn.Parameter`; takes the arguments of `format_tensor`.

    >>> print(format_parameter(np.array([1], dtype=np.float32)))
    Parameter containing:
    tensor([1.], requires_grad=True)
    """
    return "Parameter containing:\n" + format_tensor(array, requires_grad=requires_grad, **arguments)


def _unnamed_dtypes(default_dtype_name: str) -> tuple[str, ...]:
    """The element types that the elements themselves show, so that no dtype=… is written."""
    default_complex = "complex128" if default_dtype_name == "float64" else "complex64"
    return (default_dtype_name, default_complex, "int64", "bool")


def _with_suffixes(text: str, suffixes: list[str], indent: int, linewidth: int) -> str:
    """`text`, the suffixes and the closing parenthesis; a suffix that would pass `linewidth` gets a line of its own."""
    parts = [text]
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > linewidth:
            parts.append(",\n" + " " * indent + suffix)
            column = indent + len(suffix)
        else:
            parts.append(", " + suffix)
            column += len(suffix) + 2
    return "".join(parts) + ")"


def _format_elements(array: np.ndarray, indent: int, options: PrintOptions) -> str:
    """The bracketed elements of a tensor that has some, for a first line that starts at column `indent`."""
    summarize = array.size > options.threshold
    shown = _shown_elements(array, options.edgeitems) if summarize else array
    if np.iscomplexobj(array):
        columns = _Columns(_NumberFormat(shown.real, options), _NumberFormat(shown.imag, options))
    else:
        columns = _Columns(_NumberFormat(shown, options), None)
    return _format_nested(array, indent, summarize, columns, options)


def _shown_elements(array: np.ndarray, edgeitems: int) -> np.ndarray:
    """The elements that decide the number format of a summarised tensor: the ends of every dimension."""
    if not edgeitems:
        # torch looks at a whole vector here (its slice [-0:] is everything) and at nothing of a matrix.
        return array if array.ndim <= 1 else array[:0]
    for axis, extent in enumerate(array.shape):
        if extent > 2 * edgeitems:
            ends = np.r_[0:edgeitems, extent - edgeitems : extent]
            array = array.take(ends, axis=axis)
    return array


class _NumberFormat:
    """One format for all numbers of a tensor: integer, fixed or scientific, and their common width."""

    __slots__ = ("is_floating", "is_integral", "is_scientific", "precision", "width")

    def __init__(self, shown: np.ndarray, options: PrintOptions) -> None:
        self.precision = options.precision
        self.is_floating = shown.dtype.kind == "f"
        self.is_integral = True
        self.is_scientific = False
        self.width = 1
        if not self.is_floating:
            self.width = max((len(str(value)) for value in shown.ravel().tolist()), default=1)
            return
        # float16 overflows at 65504, so ranges are judged in float64, like torch.
        values = shown.ravel().astype(np.float64)
        values = values[np.isfinite(values) & (values != 0)]
        if values.size == 0:
            return
        self.is_integral = bool((values == np.ceil(values)).all())
        self.is_scientific = _needs_exponent(values) if options.sci_mode is None else options.sci_mode
        self.width = max(len(self._text(value)) for value in values.tolist())

    def _text(self, value: Any) -> str:
        if not self.is_floating:
            return str(value)
        if self.is_scientific:
            return f"{value:.{self.precision}e}"
        if self.is_integral:
            return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        return f"{value:.{self.precision}f}"

    def padded(self, value: Any) -> str:
        """`value` right-aligned in the tensor's common width."""
        return self._text(value).rjust(self.width)


def _needs_exponent(values: np.ndarray) -> bool:
    """Whether finite non-zero numbers span so much or lie so far from 1 that fixed notation would lose digits."""
    magnitudes = np.abs(values)
    least, greatest = magnitudes.min(), magnitudes.max()
    with np.errstate(over="ignore"):
        return bool(greatest / least > 1000.0 or greatest > 1.0e8 or least < 1.0e-4)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The formats of a tensor's elements: one for real numbers, one per part for complex ones."""

    real: _NumberFormat
    imaginary: _NumberFormat | None

    @property
    def element_length(self) -> int:
        """Columns one element takes on a line, with the comma and the space after it."""
        if self.imaginary is None:
            return self.real.width + 2
        return self.real.width + 2 + self.imaginary.width + 1

    def text(self, value: Any) -> str:
        """One element, padded. `value` is a Python bool, int, float or complex."""
        if self.imaginary is None:
            return self.real.padded(value)
        imaginary = (self.imaginary.padded(value.imag) + "j").lstrip()
        sign = "" if imaginary[0] in "+-" else "+"
        return self.real.padded(value.real) + sign + imaginary


def _format_nested(array: np.ndarray, indent: int, summarize: bool, columns: _Columns, options: PrintOptions) -> str:
    """The elements of `array` with one pair of brackets per dimension. Recurses over dimensions only."""
    if array.ndim == 0:
        return columns.text(array.item())
    if array.ndim == 1:
        return _format_vector(array, indent, summarize, columns, options)
    edge = options.edgeitems
    extent = len(array)
    elided = summarize and extent > 2 * edge
    shown = [*range(edge), *range(extent - edge, extent)] if elided else range(extent)
    rows = [_format_nested(array[row], indent + 1, summarize, columns, options) for row in shown]
    if elided:
        rows.insert(edge, "...")
    separator = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + separator.join(rows) + "]"


def _format_vector(array: np.ndarray, indent: int, summarize: bool, columns: _Columns, options: PrintOptions) -> str:
    """A bracketed row, broken into lines of as many elements as fit."""
    edge = options.edgeitems
    if summarize and not edge:
        elements = ["..."]
    elif summarize and len(array) > 2 * edge:
        first, last = array[:edge].tolist(), array[-edge:].tolist()
        elements = [*map(columns.text, first), " ...", *map(columns.text, last)]
    else:
        elements = [columns.text(value) for value in array.tolist()]
    per_line = max(1, (options.linewidth - indent) // columns.element_length)
    lines = [", ".join(elements[start : start + per_line]) for start in range(0, len(elements), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
