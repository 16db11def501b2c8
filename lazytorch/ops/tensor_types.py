"""Element types and kinds of tensors: `finfo`, `torch.FloatTensor` and its kin, the constructor `torch.Tensor`, tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype, set_default_dtype
from lazytorch.dtypes import DType
from lazytorch.ops.creation import empty, tensor_
from lazytorch.ops.python_data import is_sequence
from lazytorch.ops.recording import FUNCTIONS, attach, torch_function
from lazytorch.runtime.device import Device
from lazytorch.size import Size
from lazytorch.tensor import Tensor, own_node, root_of


class layout:
    """How the elements of tensors lie in memory (torch.layout): `torch.strided` is the only way here."""

    def __repr__(self) -> str:
        return "torch.strided"


STRIDED = layout()


class memory_format:
    """In which order a result's elements should lie (torch.memory_format): accepted, and always row-major."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"


MEMORY_FORMATS = {
    name: memory_format(name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
FUNCTIONS.update({"layout": layout, "memory_format": memory_format})

# -- limits of element types

_BFLOAT16 = {"bits": 16, "eps": 2.0**-7, "max": 3.3895313892515355e38, "tiny": 2.0**-126, "resolution": 0.01}


class finfo:
    """The limits of a floating type: bits, eps, min, max, tiny, smallest_normal, resolution (torch.finfo)."""

    def __init__(self, type: DType | None = None) -> None:
        kind = default_dtype() if type is None else type
        if kind.kind not in "fc":
            raise TypeError("torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'")
        if kind is dtypes.bfloat16:
            known = _BFLOAT16
        else:
            found = np.finfo(kind.numpy)
            known = {name: float(getattr(found, name)) for name in ("eps", "max", "tiny")}
            known |= {"bits": int(found.bits), "resolution": float(10.0**-found.precision)}
        self.bits = int(known["bits"])
        self.eps, self.max, self.tiny, self.resolution = (known[name] for name in ("eps", "max", "tiny", "resolution"))
        self.min, self.smallest_normal = -self.max, self.tiny
        self.dtype = kind.torch_name

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in names)}, dtype={self.dtype})"


class iinfo:
    """The limits of an integer type: bits, min, max (torch.iinfo)."""

    def __init__(self, type: DType) -> None:
        if type.kind not in "ui":
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        found = np.iinfo(type.numpy)
        self.bits, self.min, self.max, self.dtype = type.bits, int(found.min), int(found.max), type.torch_name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


FUNCTIONS["finfo"] = finfo
FUNCTIONS["iinfo"] = iinfo

# -- constructors


def construct(dtype: DType, arguments: Sequence[Any], strict: bool) -> Tensor:
    """What `torch.FloatTensor(...)` makes: sizes give a tensor of any contents, a sequence or array its elements.

    strict: a tensor among the arguments must have the element type itself.
    """
    if not arguments:
        return empty((0,), dtype=dtype)
    first = arguments[0]
    if isinstance(first, Size):
        return empty(tuple(first), dtype=dtype)
    if all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in arguments):
        return empty(tuple([int(size) for size in arguments]), dtype=dtype)
    if len(arguments) > 1:
        raise TypeError(f"new() received an invalid combination of arguments - got {len(arguments)} of them")
    if isinstance(first, Tensor):
        if strict and first.dtype is not dtype:
            raise TypeError(
                f"expected TensorOptions(dtype={_option(dtype)}, device=cpu, layout=Strided) (got {first.dtype})"
            )
        return first.detach()
    if not is_sequence(first) and not isinstance(first, str | bytes):
        kind = type(first)
        name = f"{kind.__module__}.{kind.__name__}" if isinstance(first, np.generic) else kind.__name__
        raise TypeError(f"new(): data must be a sequence (got {name})")
    return tensor_(first, dtype=dtype)


def _option(dtype: DType) -> str:
    return {"f32": "float", "f64": "double", "i64": "long int", "i32": "int"}.get(dtype.name, dtype.torch_name)


def _new(cls: Any, *arguments: Any, device: Any = None, **keywords: Any) -> Any:
    """`torch.Tensor(...)`, in the default element type."""
    if keywords:
        given = ", ".join(keywords)
        raise TypeError(f"new() received an invalid combination of arguments - got the keywords {given}")
    if device is not None:
        Device(device).check_usable()
    made = construct(default_dtype(), arguments, strict=False)
    if cls is Tensor:
        return made
    self = object.__new__(cls)
    self._node, self._base, self._version_count, self.grad = own_node(made), None, 0, None
    return self


attach("__new__", staticmethod(_new))


class _Kind(type):
    """The class of `torch.FloatTensor` and its kin: classes that no tensor is an instance of but by its element type."""

    dtype: ClassVar[DType]
    device: ClassVar[str]

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and instance.device.type == cls.device

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if cls.device != "cpu":
            raise TypeError(f"type {name_of(cls)} not available. Torch not compiled with CUDA enabled.")
        return construct(cls.dtype, arguments, strict=True)


def name_of(kind: Any) -> str:
    """`torch.FloatTensor`, `torch.cuda.LongTensor`: what `Tensor.type()` says."""
    return f"{kind.__module__}.{kind.__name__}"


def _kind(dtype: DType, device: str) -> Any:
    module = "torch" if device == "cpu" else f"torch.{device}"
    doc = f"Tensors of {dtype!r}: a constructor, a type for `isinstance` and `Tensor.type`."
    return _Kind(f"{dtype.title}Tensor", (), {"__module__": module, "__doc__": doc, "dtype": dtype, "device": device})


_TYPES = (
    dtypes.float32,
    dtypes.float64,
    dtypes.float16,
    dtypes.bfloat16,
    dtypes.int64,
    dtypes.int32,
    dtypes.int16,
    dtypes.int8,
    dtypes.uint8,
    dtypes.bool_,
)
CPU_KINDS = {kind.__name__: kind for kind in (_kind(dtype, "cpu") for dtype in _TYPES)}
CUDA_KINDS = {kind.__name__: kind for kind in (_kind(dtype, "cuda") for dtype in _TYPES)}
FUNCTIONS.update(CPU_KINDS)


def dtype_of_kind(kind: Any) -> DType:
    """The element type that a dtype, a tensor class or its name stands for. Raises ValueError for an unknown name."""
    if isinstance(kind, DType):
        return kind
    if kind is Tensor or kind == "torch.Tensor":
        return default_dtype()
    if isinstance(kind, str):
        found = {name_of(x): x for x in (*CPU_KINDS.values(), *CUDA_KINDS.values())}.get(kind)
        if found is None:
            raise ValueError(f"invalid type: '{kind}'")
        kind = found
    if isinstance(kind, _Kind):
        Device(kind.device).check_usable()
        return kind.dtype
    raise RuntimeError(f"invalid type object: {kind!r}")


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's class, or a conversion to a dtype, class or class name."""
    space = "torch.cuda" if self.is_cuda else "torch"
    return f"{space}.{self.dtype.title}Tensor" if dtype is None else self.to(dtype_of_kind(dtype))


attach("type", _type)


@torch_function("set_default_tensor_type", method=False, out=False)
def set_default_tensor_type(t: Any) -> None:
    """Make the element type of a tensor class (or its name) the default one."""
    set_default_dtype(dtype_of_kind(t))


# -- tests and small facts


@torch_function("is_tensor", method=False, out=False)
def is_tensor(obj: Any) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


@torch_function("numel", method=False, out=False)
def numel(input: Tensor) -> int:
    """The number of elements."""
    return int(input._node.type.numel)


@torch_function("is_storage", method=False, out=False)
def is_storage(obj: Any) -> bool:
    """Whether an object is a storage."""
    return isinstance(obj, UntypedStorage)


@torch_function("is_floating_point", out=False)
def is_floating_point(input: Tensor) -> bool:
    """Whether the element type is a floating one."""
    return input.dtype.is_floating_point


@torch_function("is_complex", out=False)
def is_complex(input: Tensor) -> bool:
    """Whether the element type is a complex one."""
    return input.dtype.is_complex


@torch_function("is_signed", out=False)
def is_signed(input: Tensor) -> bool:
    """Whether the element type holds negative numbers."""
    return input.dtype.is_signed


@torch_function("is_conj", "is_neg", "is_inference", out=False)
def is_lazy_form(input: Tensor) -> bool:
    """Whether a conjugation or negation is pending, or the tensor was made in inference mode: never so here."""
    return False


@torch_function("is_nonzero", out=False)
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0."""
    return bool(input)


@torch_function("is_same_size", out=False)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape."""
    return input.shape == other.shape


@torch_function("can_cast", method=False, out=False)
def can_cast(from_: DType, to: DType) -> bool:
    """Whether a conversion keeps the category of numbers (torch.can_cast)."""
    order = "buifc"
    if from_.kind in "ui" and to.kind in "ui":
        return True
    return order.index(from_.kind) <= order.index(to.kind)


@torch_function("typename", method=False, out=False)
def typename(obj: Any) -> str:
    """The name of an object's type; of a tensor its class by element type."""
    if isinstance(obj, Tensor):
        return str(_type(obj))
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@torch_function("scalar_tensor", method=False, out=False)
def scalar_tensor(s: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number, in the default floating type unless told otherwise."""
    return tensor_(s, dtype=dtype or default_dtype(), device=device, requires_grad=requires_grad)


@torch_function("get_device", out=False)
def get_device(input: Tensor) -> int:
    """The number of the tensor's device; -1 on the CPU."""
    index = input.device.index
    return -1 if index is None else index


class UntypedStorage:
    """The memory of a tensor and its views (torch.UntypedStorage), to be looked at."""

    def __init__(self, owner: Tensor) -> None:
        self._owner = root_of(owner)

    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self._owner._node.type.nbytes)

    def size(self) -> int:
        """Size in bytes."""
        return self.nbytes()

    def __len__(self) -> int:
        return self.nbytes()

    def data_ptr(self) -> int:
        """The address of the memory; computes it."""
        return self._owner.data_ptr()

    @property
    def device(self) -> Device:
        """Where it lives."""
        return self._owner.device

    def tolist(self) -> list[int]:
        """The bytes."""
        return np.frombuffer(self._owner.detach()._array("storage").tobytes(), np.uint8).tolist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._owner is self._owner

    def __hash__(self) -> int:
        return id(self._owner)


FUNCTIONS["UntypedStorage"] = UntypedStorage


def _is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are one view of one storage."""
    return root_of(self) is root_of(tensor) and self._access() == tensor._access()


def _share_memory(self: Tensor) -> Tensor:
    """Memory is shared between threads as it is; between processes it is not."""
    return self


attach("untyped_storage", lambda self: UntypedStorage(self))
attach("is_set_to", _is_set_to)
attach("share_memory_", _share_memory)
attach("is_shared", lambda self: False)
attach("is_pinned", lambda self, device=None: False)
attach("itemsize", property(lambda self: self.dtype.itemsize))
attach("element_size", lambda self: self.dtype.itemsize)
attach("nbytes", property(lambda self: self._node.type.nbytes))
attach("layout", property(lambda self: STRIDED))
attach("is_cpu", property(lambda self: self.device.type == "cpu"))
attach("is_cuda", property(lambda self: self.device.type == "cuda"))
attach("output_nr", property(lambda self: 0))
for _name in (
    "sparse",
    "sparse_csr",
    "quantized",
    "meta",
    "nested",
    "mkldnn",
    "mps",
    "xpu",
    "ipu",
    "mtia",
    "maia",
    "vulkan",
):
    attach(f"is_{_name}", property(lambda self: False))
