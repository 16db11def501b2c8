"""Types of IR values. Every type is interned, so equality is identity and a type can be a dictionary key at no cost."""

from __future__ import annotations

from typing import ClassVar

from lazytorch.dtypes import DType
from lazytorch.dtypes import index as index_dtype


class Type:
    """What a value is. `dtype` is the element type of numbers; `shape` is () for everything that is not a tensor; `device`
    names where a tensor lies, None for the CPU."""

    __slots__ = ()
    dtype: DType
    shape: tuple[int, ...]
    device: str | None = None

    def with_dtype(self, dtype: DType) -> Type:
        """The same type over another element type."""
        raise TypeError(f"{self} has no element type")


class TensorType(Type):
    """A dense tensor value: `tensor<64x10xf32>`, on another device than the CPU `tensor<64x10xf32, "cuda:0">`; rank 0 is a
    scalar of the user's program."""

    __slots__ = ("device", "dtype", "id", "numel", "shape")
    dtype: DType
    shape: tuple[int, ...]
    numel: int
    id: int
    device: str | None
    _interned: ClassVar[dict[tuple[DType, tuple[int, ...]], TensorType]] = {}
    _elsewhere: ClassVar[dict[tuple[DType, tuple[int, ...], str], TensorType]] = {}
    _all: ClassVar[list[TensorType]] = []

    def __new__(cls, dtype: DType, shape: tuple[int, ...], device: str | None = None) -> TensorType:
        if device is not None:
            return cls._on(dtype, shape, device)
        key = (dtype, shape)
        found = cls._interned.get(key)
        if found is None:
            found = cls._make(dtype, shape, None)
            found = cls._interned.setdefault(key, found)
        return found

    @classmethod
    def _on(cls, dtype: DType, shape: tuple[int, ...], device: str) -> TensorType:
        key = (dtype, shape, device)
        found = cls._elsewhere.get(key)
        if found is None:
            found = cls._elsewhere.setdefault(key, cls._make(dtype, shape, device))
        return found

    @classmethod
    def _make(cls, dtype: DType, shape: tuple[int, ...], device: str | None) -> TensorType:
        found = object.__new__(cls)
        found.dtype = dtype
        found.shape = shape
        found.device = device
        count = 1
        for size in shape:
            count *= size
        found.numel = count
        found.id = len(cls._all)
        cls._all.append(found)
        return found

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous buffer that holds the value."""
        return self.numel * self.dtype.itemsize

    def with_dtype(self, dtype: DType) -> TensorType:
        return self if dtype is self.dtype else TensorType(dtype, self.shape, self.device)

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        """The same element type in another shape."""
        return TensorType(self.dtype, shape, self.device)

    def on(self, device: str | None) -> TensorType:
        """The same type on another device."""
        return self if device == self.device else TensorType(self.dtype, self.shape, device)

    def __repr__(self) -> str:
        where = f', "{self.device}"' if self.device is not None else ""
        return "tensor<" + "".join(f"{size}x" for size in self.shape) + f"{self.dtype.name}{where}>"


class ScalarType(Type):
    """One number inside a kernel: `f32`, `i1`, `index`."""

    __slots__ = ("dtype",)
    dtype: DType
    shape = ()
    _interned: ClassVar[dict[DType, ScalarType]] = {}

    def __new__(cls, dtype: DType) -> ScalarType:
        found = cls._interned.get(dtype)
        if found is None:
            found = object.__new__(cls)
            found.dtype = dtype
            found = cls._interned.setdefault(dtype, found)
        return found

    def with_dtype(self, dtype: DType) -> ScalarType:
        return ScalarType(dtype)

    def __repr__(self) -> str:
        return self.dtype.name


class VectorType(Type):
    """A register of several numbers inside a kernel: `vector<16xf32>`."""

    __slots__ = ("dtype", "lanes")
    dtype: DType
    lanes: int
    shape = ()
    _interned: ClassVar[dict[tuple[DType, int], VectorType]] = {}

    def __new__(cls, dtype: DType, lanes: int) -> VectorType:
        key = (dtype, lanes)
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.dtype = dtype
            found.lanes = lanes
            found = cls._interned.setdefault(key, found)
        return found

    def with_dtype(self, dtype: DType) -> VectorType:
        return VectorType(dtype, self.lanes)

    def __repr__(self) -> str:
        return f"vector<{self.lanes}x{self.dtype.name}>"


class BufferType(Type):
    """Memory inside a kernel. `strides` has one entry per index, in elements: a number that is part of the kernel's
    structure (0: broadcast, 1: contiguous) or None for one that is passed at run time.
    Text: `buffer<f32, [?, 1]>`."""

    __slots__ = ("dtype", "strides")
    dtype: DType
    strides: tuple[int | None, ...]
    shape = ()
    _interned: ClassVar[dict[tuple[DType, tuple[int | None, ...]], BufferType]] = {}

    def __new__(cls, dtype: DType, strides: tuple[int | None, ...]) -> BufferType:
        key = (dtype, strides)
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.dtype = dtype
            found.strides = strides
            found = cls._interned.setdefault(key, found)
        return found

    @property
    def dynamic_strides(self) -> int:
        """How many strides are run-time arguments."""
        return sum(stride is None for stride in self.strides)

    def __repr__(self) -> str:
        strides = ", ".join("?" if stride is None else str(stride) for stride in self.strides)
        return f"buffer<{self.dtype.name}, [{strides}]>"


class TupleType(Type):
    """The type of a recorded operation with several results (the trace's compact form only)."""

    __slots__ = ("types",)
    types: tuple[Type, ...]
    shape = ()
    _interned: ClassVar[dict[tuple[Type, ...], TupleType]] = {}

    def __new__(cls, types: tuple[Type, ...]) -> TupleType:
        found = cls._interned.get(types)
        if found is None:
            found = object.__new__(cls)
            found.types = types
            found = cls._interned.setdefault(types, found)
        return found

    def __repr__(self) -> str:
        return "(" + ", ".join(map(repr, self.types)) + ")"


INDEX = ScalarType(index_dtype)


def tensor_type_by_id(identity: int) -> TensorType:
    """The tensor type with this interning number."""
    return TensorType._all[identity]
