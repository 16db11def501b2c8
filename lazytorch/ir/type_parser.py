"""Types and attribute values from their text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.lexer import Lexer
from lazytorch.ir.types import BufferType, ScalarType, TensorType, Type, VectorType

_SHAPED = re.compile(r"(?P<sizes>(?:[0-9]+x)*)(?P<dtype>.+)\Z", re.DOTALL)
_BUFFER = re.compile(r"\s*(?P<dtype>[\w<>]+)\s*,\s*\[(?P<strides>[^\]]*)\]\s*\Z")
_STRIDE = re.compile(r"\s*(\?|-?[0-9]+)\s*\Z")
_INTEGER = re.compile(r"-?[0-9]+\Z")
_LIMIT = 1 << 63


def parse_type(lexer: Lexer) -> Type:
    """A type: `tensor<2x3xf32>`, `vector<16xf32>`, `buffer<f32, [?, 1]>`, `f32`, `complex<f64>`."""
    token = lexer.token
    if token.kind == "word" and _dtype(token.text) is not None:
        lexer.take()
        return ScalarType(dtypes.named(token.text))
    if token.kind != "type":
        lexer.fail(f"expected a type but found {token}")
    lexer.take()
    family, _, rest = token.text.removeprefix("!loop.").partition("<")
    inside = rest[:-1]
    if family == "complex":
        return ScalarType(_element(lexer, token.text, token.start))
    if family == "buffer":
        match = _BUFFER.match(inside)
        if match is None:
            lexer.fail("expected buffer<dtype, [stride, ...]>", token.start)
        return BufferType(_element(lexer, match["dtype"], token.start), _strides(lexer, match["strides"], token.start))
    inside, _, place = inside.partition(", ")
    device = place.strip('"') or None
    match = _SHAPED.match(inside)
    if match is None or (device is not None and family != "tensor"):
        lexer.fail(f"expected {family}<sizes x dtype>", token.start)
    sizes = tuple([_integer(lexer, size, token.start, _LIMIT) for size in match["sizes"].split("x")[:-1]])
    dtype = _element(lexer, match["dtype"], token.start)
    if family == "tensor":
        return TensorType(dtype, sizes, device)
    if len(sizes) != 1 or not sizes[0]:
        lexer.fail("a vector has one size, which is not 0", token.start)
    return VectorType(dtype, sizes[0])


def parse_types(lexer: Lexer) -> list[Type]:
    """One type, or a list in parentheses."""
    if not lexer.accept("("):
        return [parse_type(lexer)]
    types: list[Type] = []
    while not lexer.accept(")"):
        if types:
            lexer.expect(",")
        types.append(parse_type(lexer))
    return types


def parse_attribute(lexer: Lexer) -> Any:
    """An attribute's value: the inverse of `printer.attribute_text`."""
    token = lexer.token
    if token.kind == "number":
        return parse_number(lexer)
    if token.kind == "string":
        return parse_string(lexer)
    if token.kind == "type":
        dtype = _dtype(token.text)
        if dtype is None:
            lexer.fail("expected an attribute's value; a type is written type(...)")
        lexer.take()
        return dtype
    if lexer.accept("["):
        return rest_of_list(lexer, lambda: parse_attribute(lexer))
    if token.kind == "word":
        return _word(lexer)
    lexer.fail(f"expected an attribute's value but found {token}")


def rest_of_list(lexer: Lexer, item: Callable[[], Any]) -> tuple[Any, ...]:
    """`a, b, …]` after the bracket."""
    items: list[Any] = []
    with lexer.nested():
        while not lexer.accept("]"):
            if items:
                lexer.expect(",")
            items.append(item())
    return tuple(items)


def _word(lexer: Lexer) -> Any:
    token = lexer.take()
    constants = {"true": True, "false": False, "none": None}
    if token.text in constants:
        return constants[token.text]
    if token.text == "type":
        lexer.expect("(")
        type = parse_type(lexer)
        lexer.expect(")")
        return type
    if token.text == "complex":
        lexer.expect("(")
        real = parse_number(lexer)
        lexer.expect(",")
        imaginary = parse_number(lexer)
        lexer.expect(")")
        return complex(real, imaginary)
    dtype = _dtype(token.text)
    if dtype is None:
        lexer.fail(f"expected an attribute's value but found {token}", token.start)
    return dtype


def parse_number(lexer: Lexer) -> int | float:
    """An int, or a float where the text has a point, an exponent, inf or nan."""
    token = lexer.expect_kind("number", "a number")
    if token.text.startswith("0x"):
        lexer.fail("a number in hexadecimal digits is only for the generic form", token.start)
    return _integer(lexer, token.text, token.start) if _INTEGER.match(token.text) else float(token.text)


def parse_integer(lexer: Lexer) -> int:
    """A whole number."""
    start = lexer.token.start
    number = parse_number(lexer)
    if not isinstance(number, int):
        lexer.fail(f"expected a whole number but found {number}", start)
    return number


def _integer(lexer: Lexer, text: str, position: int, limit: int | None = None) -> int:
    """The number of a text of digits. What Python refuses to read, or is not below the limit, is an error."""
    try:
        number = int(text)
    except ValueError:
        lexer.fail(f"a number has {len(text)} digits, which is too many", position)
    if limit is not None and not -limit <= number < limit:
        lexer.fail(f"{number} does not fit into 64 bits", position)
    return number


def parse_string(lexer: Lexer) -> str:
    """A quoted string."""
    token = lexer.expect_kind("string", "a string")
    return string_value(lexer, token.text, token.start)


def string_value(lexer: Lexer, quoted: str, position: int) -> str:
    """What a quoted string at a position says."""
    if quoted.isprintable() and "\\" not in quoted:
        return quoted[1:-1]
    try:
        text: str = json.loads(quoted)
        text.encode()  # half of a surrogate pair is no character
    except ValueError:
        lexer.fail("the string has an escape that is not understood", position)
    return text


def _dtype(name: str) -> DType | None:
    try:
        return dtypes.named(name)
    except KeyError:
        return None


def _element(lexer: Lexer, name: str, position: int) -> DType:
    dtype = _dtype(name)
    if dtype is None:
        lexer.fail(f"there is no element type {name!r}", position)
    return dtype


def _strides(lexer: Lexer, text: str, position: int) -> tuple[int | None, ...]:
    strides: list[int | None] = []
    for stride in text.split(",") if text.strip() else ():
        match = _STRIDE.match(stride)
        if match is None:
            lexer.fail(f"a stride is a number or '?', not {stride.strip()!r}", position)
        strides.append(None if match[1] == "?" else _integer(lexer, match[1], position, _LIMIT))
    return tuple(strides)
