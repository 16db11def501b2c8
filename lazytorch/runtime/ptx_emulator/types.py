"""PTX types as NumPy types. Registers hold unsigned integers of their size; an instruction views them as it needs."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

UNSIGNED: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 16: np.dtype("u2"), 32: np.dtype("u4"), 64: np.dtype("u8")}
SIGNED: dict[int, np.dtype[Any]] = {8: np.dtype("i1"), 16: np.dtype("i2"), 32: np.dtype("i4"), 64: np.dtype("i8")}
FLOATING: dict[int, np.dtype[Any]] = {16: np.dtype("f2"), 32: np.dtype("f4"), 64: np.dtype("f8")}
BOOL = np.dtype(bool)

# What a register holds before anything was written to it.
GARBAGE_BYTE = 0xCD


@dataclass(frozen=True, slots=True)
class Type:
    """A fundamental or packed type: `kind` is one of u, s, b, f, bf, tf, pred, e4m3, e5m2; `bits` are those of all
    `lanes`. `storage` is the unsigned type of a register of this size, `view` the NumPy type that computes with such a
    value (formats that NumPy lacks stay unsigned integers)."""

    name: str
    kind: str
    bits: int
    lanes: int
    storage: np.dtype[Any]
    view: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def element(self) -> "Type":
        """The type of one lane of a packed type."""
        return self if self.lanes == 1 else type_named(self.name.removesuffix(f"x{self.lanes}"))

    @property
    def is_float(self) -> bool:
        return self.kind in ("f", "bf", "tf", "e4m3", "e5m2")


_PATTERN = re.compile(r"(e4m3|e5m2|bf|tf|[usbf])(\d+)?(?:x(\d))?")


def is_type(name: str) -> bool:
    return name == "pred" or name in _NAMES


@cache
def type_named(name: str) -> Type:
    """The type of this PTX name (without the dot)."""
    if name == "pred":
        return Type(name, "pred", 1, 1, BOOL, BOOL)
    match = _PATTERN.fullmatch(name)
    if match is None or name not in _NAMES:
        raise KeyError(name)
    kind, size, lanes = match[1], match[2], int(match[3] or 1)
    bits = lanes * (8 if kind in ("e4m3", "e5m2") else 32 if kind == "tf" else int(size))
    storage = UNSIGNED.get(bits, UNSIGNED[64])
    view = {"s": SIGNED, "f": FLOATING}.get(kind, UNSIGNED).get(bits, storage) if lanes == 1 else storage
    return Type(name, kind, bits, lanes, storage, view)


_NAMES = {f"{kind}{bits}" for kind in "usb" for bits in (8, 16, 32, 64)} | {
    *("f16", "f32", "f64", "bf16", "f16x2", "bf16x2", "f32x2", "tf32", "u16x2", "s16x2", "e4m3", "e5m2", "e4m3x2", "e5m2x2"),
    *("b128",),
}


@cache
def garbage(bits: int) -> Array:
    """The contents of a register that was never written, uniform over the threads; a predicate has one bit."""
    if bits == 1:
        return np.zeros(1, BOOL)
    return np.frombuffer(bytes([GARBAGE_BYTE]) * (bits // 8), UNSIGNED[bits])


def literal(text: str, bits: int) -> Array:
    """An immediate operand as unsigned bits of the given size. Raises ValueError when the text is no such number."""
    if bits not in UNSIGNED:
        raise ValueError(text)
    if text[:2] in ("0f", "0F", "0d", "0D"):
        size = 32 if text[1] in "fF" else 64
        if size != bits or len(text) != 2 + size // 4:
            raise ValueError(text)
        return np.array([int(text[2:], 16)], UNSIGNED[bits])
    return np.array([int(text.rstrip("U"), 0) & ((1 << bits) - 1)], UNSIGNED[bits])
