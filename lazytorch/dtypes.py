"""Element types. One interned object each; `torch.float32` is `dtypes.float32`, and IR text calls it `f32`."""

from __future__ import annotations

import numpy as np


class DType:
    """An element type: its name in IR text, its torch name, its size in bytes and its NumPy storage type.

    `kind` is one of 'b' (bool), 'u', 'i', 'f', 'c' and 'x' (index: a 64-bit size or subscript inside kernels).
    bfloat16 has no NumPy type: it is stored as uint16, and the reference interpreter computes on rounded float32.
    """

    __slots__ = ("alias", "id", "itemsize", "kind", "name", "numpy", "torch_name")

    def __init__(self, name: str, torch_name: str, kind: str, itemsize: int, numpy: str, alias: str = "") -> None:
        self.name = name
        self.torch_name = torch_name
        self.kind = kind
        self.itemsize = itemsize
        self.numpy = np.dtype(numpy)
        self.alias = alias
        self.id = len(_BY_NAME)
        _BY_NAME[name] = self

    @property
    def is_floating_point(self) -> bool:
        """True for f16, bf16, f32 and f64, as `torch.dtype.is_floating_point`."""
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        """True for complex64 and complex128."""
        return self.kind == "c"

    @property
    def is_integral(self) -> bool:
        """True for the signed and unsigned integers, not for bool."""
        return self.kind in "ui"

    @property
    def is_signed(self) -> bool:
        """True for every type that can hold a negative number."""
        return self.kind in "ifc"

    @property
    def opmath(self) -> DType:
        """The type that a function computes in which rounds once, at its end: float32 for 16-bit floats, else itself."""
        return float32 if self.kind == "f" and self.itemsize == 2 else self

    @property
    def bits(self) -> int:
        """Width in bits; bool counts as the 1 bit it is in IR text."""
        return 1 if self.kind == "b" else 8 * self.itemsize

    @property
    def title(self) -> str:
        """torch's C++ name of it, as its messages have it."""
        return _TITLES.get(self.torch_name, self.torch_name)

    def __repr__(self) -> str:
        return f"torch.{self.torch_name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return named, (self.name,)

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: object) -> DType:
        return self


_TITLES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "bool": "Bool"}
_TITLES |= {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte"}
_TITLES |= {"uint32": "UInt32", "uint64": "UInt64", "complex64": "ComplexFloat", "complex128": "ComplexDouble"}

_BY_NAME: dict[str, DType] = {}

bool_ = DType("i1", "bool", "b", 1, "bool")
uint8 = DType("ui8", "uint8", "u", 1, "uint8")
int8 = DType("i8", "int8", "i", 1, "int8")
int16 = DType("i16", "int16", "i", 2, "int16", "short")
int32 = DType("i32", "int32", "i", 4, "int32", "int")
int64 = DType("i64", "int64", "i", 8, "int64", "long")
float16 = DType("f16", "float16", "f", 2, "float16", "half")
bfloat16 = DType("bf16", "bfloat16", "f", 2, "uint16")
float32 = DType("f32", "float32", "f", 4, "float32", "float")
float64 = DType("f64", "float64", "f", 8, "float64", "double")
complex64 = DType("complex<f32>", "complex64", "c", 8, "complex64", "cfloat")
complex128 = DType("complex<f64>", "complex128", "c", 16, "complex128", "cdouble")
uint32 = DType("ui32", "uint32", "u", 4, "uint32")
uint64 = DType("ui64", "uint64", "u", 8, "uint64")
index = DType("index", "index", "x", 8, "int64")

ALL: tuple[DType, ...] = tuple(_BY_NAME.values())


def named(name: str) -> DType:
    """The element type that IR text calls `name`. Raises KeyError for an unknown one."""
    return _BY_NAME[name]


def of_numpy(dtype: np.dtype) -> DType:
    """The element type stored as this NumPy type (uint16 is not torch's: TypeError, as `torch.from_numpy`)."""
    for candidate in ALL:
        if candidate.numpy == dtype and candidate is not bfloat16 and candidate is not index:
            return candidate
    raise TypeError(
        f"can't convert np.ndarray of type {dtype}. The only supported types are: float64, float32, float16, complex64, "
        "complex128, int64, int32, int16, int8, uint64, uint32, uint8, and bool."
    )
