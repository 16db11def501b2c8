"""Types and attribute values from their text."""

from __future__ import annotations

import json
import re
from typing import Any

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.lexer import Lexer
from lazytorch.ir.types import BufferType, ScalarType, TensorType, Type, VectorType

_SHAPED = re.compile(r"(?P<sizes>(?:\d+x)*)(?P<dtype>.+)\Z", re.DOTALL)
_BUFFER = re.compile(r"(?P<dtype>[^\[]+?)\s*,\s*\[(?P<strides>[^\]]*)\]\s*\Z")


def parse_type(lexer: Lexer) -> Type:
    """A type: `tensor<2x3xf32>`, `vector<16xf32>`, `buffer<f32, [?, 1]>`, `f32`, `complex<f64>`."""
    token = lexer.token
    if token.kind == "word" and _dtype(token.text) is not None:
        lexer.take()
        return ScalarType(dtypes.named(token.text))
    if token.kind != "type":
        lexer.fail(f"expected a type but found {token}")
    lexer.take()
    family, _, rest = token.text.partition("<")
    inside = rest[:-1]
    if family == "complex":
        return ScalarType(_element(lexer, token.text, token.start))
    if family == "buffer":
        match = _BUFFER.match(inside)
        if match is None:
            lexer.fail("expected buffer<dtype, [stride, ...]>", token.start)
        return BufferType(_element(lexer, match["dtype"], token.start), _strides(lexer, match["strides"], token.start))
    match = _SHAPED.match(inside)
    if match is None:
        lexer.fail(f"expected {family}<sizes x dtype>", token.start)
    sizes = tuple([int(size) for size in match["sizes"].split("x")[:-1]])
    dtype = _element(lexer, match["dtype"], token.start)
    if family == "tensor":
        return TensorType(dtype, sizes)
    if len(sizes) != 1:
        lexer.fail("a vector has one size", token.start)
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
        items: list[Any] = []
        while not lexer.accept("]"):
            if items:
                lexer.expect(",")
            items.append(parse_attribute(lexer))
        return tuple(items)
    if token.kind == "word":
        return _word(lexer)
    lexer.fail(f"expected an attribute's value but found {token}")


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
    text = lexer.expect_kind("number", "a number").text
    return int(text) if text.lstrip("-").isdigit() else float(text)


def parse_string(lexer: Lexer) -> str:
    """A quoted string."""
    token = lexer.expect_kind("string", "a string")
    try:
        text: str = json.loads(token.text)
    except ValueError:
        lexer.fail("the string has an escape that is not understood", token.start)
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
        stride = stride.strip()
        if stride != "?" and not stride.lstrip("-").isdigit():
            lexer.fail(f"a stride is a number or '?', not {stride!r}", position)
        strides.append(None if stride == "?" else int(stride))
    return tuple(strides)
