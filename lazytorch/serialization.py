"""`torch.save` and `torch.load`: files that PyTorch reads, and reading the files that it writes.

A file is a zip archive: `data.pkl`, a pickle in which storages are references, and one record of raw bytes per storage.
Loading never runs code that a file names: its pickle may only refer to the names listed here, to what the program has
declared safe (`add_safe_globals`), and, with `weights_only=False`, to module and optimizer classes that are loaded
already.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import sys
import types
import zipfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, ClassVar

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.trace import leaf
from lazytorch.ir.types import TensorType
from lazytorch.nn import Module, Parameter
from lazytorch.ops.tensor_types import STRIDED
from lazytorch.optim import Optimizer
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.device import Device
from lazytorch.size import Size
from lazytorch.tensor import Tensor, of_leaf, root_of

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]

_ALIGNMENT = 64
_TYPED = {
    f"{dtype.title}Storage": dtype
    for dtype in dtypes.ALL
    if dtype is not dtypes.index and dtype not in (dtypes.uint32, dtypes.uint64)
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


# -- saving ------------------------------------------------------------


class _Name:
    """A global that the pickle names, which need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.module}.{self.name} stands for a name only")


class _Storage:
    """The memory of a tensor, as the pickle refers to it."""

    def __init__(self, owner: Tensor) -> None:
        self.owner = owner


_REBUILD = _Name("torch._utils", "_rebuild_tensor_v2")
_REBUILD_WITH_DTYPE = _Name("torch._utils", "_rebuild_tensor_v3")
_REBUILD_PARAMETER = _Name("torch._utils", "_rebuild_parameter")


class _Pickler(pickle._Pickler):
    """Writes tensors as references to storages, and our classes under torch's names."""

    dispatch: ClassVar[dict[Any, Any]] = pickle._Pickler.dispatch.copy()

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: dict[int, _Storage] = {}

    def persistent_id(self, obj: Any) -> Any:
        """The reference of a storage: kind, element type, record, device, number of elements."""
        if not isinstance(obj, _Storage):
            return None
        dtype, count = obj.owner.dtype, obj.owner._node.type.numel
        name = f"{dtype.title}Storage"
        key = str(list(self.storages).index(id(obj.owner)))
        if name in _TYPED:
            return ("storage", _Name("torch", name), key, "cpu", count)
        return ("storage", _Name("torch.storage", "UntypedStorage"), key, "cpu", count * dtype.itemsize)

    def reducer_override(self, obj: Any) -> Any:
        """How a tensor and what goes with it are rebuilt by torch."""
        if isinstance(obj, Parameter):
            return _REBUILD_PARAMETER, (obj.detach(), obj.requires_grad, OrderedDict())
        if isinstance(obj, Tensor):
            return self._tensor(obj)
        if isinstance(obj, Size):
            return _Name("torch", "Size"), (tuple(obj),)
        if isinstance(obj, Device):
            return _Name("torch", "device"), ((obj.type,) if obj.index is None else (obj.type, obj.index))
        return NotImplemented

    def _tensor(self, obj: Tensor) -> Any:
        root = root_of(obj)
        storage = self.storages.setdefault(id(root), _Storage(root))
        access = obj._access()
        flag = obj.requires_grad and obj.is_leaf
        place: Any = (storage, access.offset, tuple(access.shape), tuple(access.strides), flag, OrderedDict())
        if f"{obj.dtype.title}Storage" in _TYPED:
            return _REBUILD, place
        return _REBUILD_WITH_DTYPE, (*place, obj.dtype)

    def save_name(self, obj: _Name) -> None:
        """A reference to a global, whether or not it exists here."""
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]

    def save_dtype(self, obj: DType) -> None:
        """torch.float32 and its kin are globals of torch."""
        self.save_name(_Name("torch", obj.torch_name))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """A class or function of this package goes under torch's name."""
        module = getattr(obj, "__module__", "") or ""
        package, _, rest = module.partition(".")
        if package == "lazytorch":
            self.save_name(_Name(f"torch.{rest}" if rest else "torch", name or obj.__qualname__))
        else:
            super().save_global(obj, name)  # type: ignore[misc]

    dispatch[_Name] = save_name
    dispatch[DType] = save_dtype


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object with its tensors to a path or a binary file, as PyTorch does (its zip format).

    Tensors that share a storage do so again when they are loaded. Raises pickle.PicklingError for what has no name.
    """
    text = io.BytesIO()
    pickler = _Pickler(text, pickle_protocol)
    pickler.dump(obj)
    if isinstance(f, str | os.PathLike):
        stem = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        with open(f, "wb") as file:
            _write(file, stem, text.getvalue(), pickler.storages.values())
    else:
        _write(f, "archive", text.getvalue(), pickler.storages.values())


def _write(file: IO[bytes], stem: str, pickled: bytes, storages: Any) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        records = {
            "data.pkl": pickled,
            ".format_version": b"1",
            ".storage_alignment": str(_ALIGNMENT).encode(),
            "byteorder": sys.byteorder.encode(),
        }
        for name, content in records.items():
            _record(archive, f"{stem}/{name}", content)
        for key, storage in enumerate(storages):
            array = storage.owner.detach()._array("save()")
            _record(archive, f"{stem}/data/{key}", np.ascontiguousarray(array).tobytes())
        _record(archive, f"{stem}/version", b"3\n")


def _record(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    """One record whose data begins at a multiple of 64 bytes, so that it could be mapped."""
    info = zipfile.ZipInfo(name)
    assert archive.fp is not None
    begin = archive.fp.tell() + 30 + len(name.encode()) + 4
    padding = -begin % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    archive.writestr(info, content)


# -- loading ------------------------------------------------------------


class _Loaded:
    """A storage of a file: its bytes, and the tensor that owns them once one has been made."""

    def __init__(self, content: bytes | bytearray, dtype: DType | None) -> None:
        self.content = content
        self.dtype = dtype
        self.root: Tensor | None = None

    def tensor(self, dtype: DType, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        """A tensor on this storage; all of one storage share it."""
        count = len(self.content) // dtype.itemsize
        whole = offset == 0 and _is_contiguous(shape, strides) and int(np.prod(shape, dtype=np.int64)) == count
        if self.root is None:
            self.root = self._owner(dtype, shape if whole else (count,))
            if whole:
                return self.root
        if self.root.dtype is not dtype:
            raise NotImplementedError("a file with tensors of several element types in one storage is not supported")
        flat = self.root.view(-1)
        return flat.view(shape) if whole else flat.as_strided(shape, strides, offset)

    def _owner(self, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        buffer = Buffer(max(len(self.content), 1))
        used = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        buffer.numpy(np.uint8, (used,))[...] = np.frombuffer(self.content, np.uint8)[:used]
        return of_leaf(leaf(TensorType(dtype, shape), buffer))


def _is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _rebuild_tensor(
    storage: _Loaded, offset: int, size: Any, stride: Any, requires_grad: bool = False, hooks: Any = None, *rest: Any
) -> Tensor:
    dtype = rest[0] if rest and isinstance(rest[0], DType) else storage.dtype
    assert dtype is not None
    out = storage.tensor(dtype, offset, tuple(size), tuple(stride))
    return out.requires_grad_() if requires_grad else out


def _rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any) -> Parameter:
    return Parameter(data, requires_grad)


def _no_layout(name: str) -> Any:
    return STRIDED


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as pickles of protocol 2 hold them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in a file are written as latin1, not {encoding}")
    return text.encode("latin1")


class _StorageType:
    """A storage class of torch, as a reference names it."""

    def __init__(self, dtype: DType | None) -> None:
        self.dtype = dtype


_SAFE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): Size,
    ("torch", "device"): Device,
    ("torch", "Tensor"): Tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): Parameter,
    ("torch.serialization", "_get_layout"): _no_layout,
    ("torch.storage", "UntypedStorage"): _StorageType(None),
    **{("torch", name): _StorageType(dtype) for name, dtype in _TYPED.items()},
    **{("torch", dtype.torch_name): dtype for dtype in dtypes.ALL if dtype is not dtypes.index},
}
_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "Counter"): Counter,
    ("collections", "deque"): deque,
    ("argparse", "Namespace"): argparse.Namespace,
    ("types", "SimpleNamespace"): types.SimpleNamespace,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    **{
        (f"numpy.{core}.multiarray", name): of.__reduce__()[0]
        for core in ("core", "_core")
        for name, of in (("scalar", np.float64(0)), ("_reconstruct", np.zeros(0)))
    },
}
"""What `weights_only=False` adds: containers and NumPy's numbers and arrays, which run nothing when they are rebuilt."""
_added: dict[tuple[str, str], Any] = {}


def _key_of(entry: Any) -> tuple[tuple[str, str], Any]:
    """`(class, "module.name")` or the class or function itself."""
    if isinstance(entry, tuple):
        item, path = entry
        module, _, name = path.rpartition(".")
        return (module, name), item
    return (entry.__module__, entry.__qualname__), entry


def add_safe_globals(safe_globals: Sequence[Any]) -> None:
    """Let files refer to these classes and functions from now on. Loading a file may then call them."""
    _added.update(dict(map(_key_of, safe_globals)))


def get_safe_globals() -> list[Any]:
    """The classes and functions declared safe."""
    return list(_added.values())


def clear_safe_globals() -> None:
    """Forget what was declared safe."""
    _added.clear()


@contextmanager
def safe_globals(safe_globals: Sequence[Any]) -> Iterator[None]:
    """Let files refer to these classes and functions within a block."""
    before = dict(_added)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _added.clear()
        _added.update(before)


class _Unpickler(pickle.Unpickler):
    """Reads the pickle of a file; every name in it is looked up in lists, none is imported."""

    def __init__(self, file: IO[bytes], weights_only: bool, storage: Callable[[Any], _Loaded], **options: Any) -> None:
        super().__init__(file, **options)
        self._weights_only = weights_only
        self._storage = storage

    def persistent_load(self, pid: Any) -> Any:
        """The storage that a reference names."""
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for. Raises pickle.UnpicklingError for one that is in no list."""
        module = {"__builtin__": "builtins"}.get(module, module)
        for table in (_SAFE, _added):
            found = table.get((module, name))
            if found is not None:
                return found
        if not self._weights_only:
            found = _HARMLESS.get((module, name)) or _own_class(module, name)
            if found is not None:
                return found
        raise pickle.UnpicklingError(
            f"Weights only load failed. Unsupported global: GLOBAL {module}.{name} was not an allowed global by default. "
            "lazytorch never runs code that a file names: use torch.serialization.add_safe_globals for classes that you "
            "trust (with weights_only=False, module and optimizer classes that are loaded already are accepted)"
        )


def _own_class(module: str, name: str) -> type | None:
    """A module or optimizer class of the library or the program, if it is loaded already."""
    package, _, rest = module.partition(".")
    paths = [f"lazytorch.{rest}", module] if package == "torch" else [module]
    for path in paths:
        found: Any = sys.modules.get(path)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Module | Optimizer):
            return found
    return None


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `torch.save` wrote (PyTorch's too, the older format included) from a path or binary file.

    map_location: where tensors go; needed for tensors that were saved on a device which is not here.
    Raises pickle.UnpicklingError for a file that names anything but tensors, containers and numbers (see the module).
    """
    restricted = weights_only is not False
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return _read(file, map_location, restricted)
    return _read(f, map_location, restricted)


def _read(file: IO[bytes], map_location: Any, restricted: bool) -> Any:
    begin = file.tell()
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(begin)
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, map_location, restricted)
    return _read_legacy(file, map_location, restricted)


def _read_archive(archive: zipfile.ZipFile, map_location: Any, restricted: bool) -> Any:
    stem = next(name for name in archive.namelist() if name.endswith("data.pkl")).removesuffix("data.pkl")
    if f"{stem}byteorder" in archive.namelist() and archive.read(f"{stem}byteorder") != sys.byteorder.encode():
        raise ValueError("the file was written on a machine of the other byte order")
    storages: dict[str, _Loaded] = {}

    def storage(pid: Any) -> _Loaded:
        _, kind, key, location, _ = pid
        if key not in storages:
            _check_location(location, map_location)
            storages[key] = _Loaded(archive.read(f"{stem}data/{key}"), kind.dtype)
        return storages[key]

    return _Unpickler(io.BytesIO(archive.read(f"{stem}data.pkl")), restricted, storage).load()


def _read_legacy(file: IO[bytes], map_location: Any, restricted: bool) -> Any:
    """The format before zip archives: pickles of a magic number, the object and the storages' keys, then their bytes."""
    storages: dict[str, _Loaded] = {}

    def storage(pid: Any) -> _Loaded:
        _, kind, key, location, count, *view = pid
        if view and view[0] is not None:
            raise NotImplementedError("views of storages in files of the older format are not supported")
        if key not in storages:
            _check_location(location, map_location)
            storages[key] = _Loaded(bytearray(count * kind.dtype.itemsize), kind.dtype)
        return storages[key]

    def unpickled() -> Any:
        return _Unpickler(file, restricted, storage).load()

    try:
        magic = unpickled()
    except (EOFError, pickle.UnpicklingError, ValueError) as error:
        raise pickle.UnpicklingError(f"the file is no archive and no older file of torch.save: {error}") from None
    if magic != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("Invalid magic number; corrupt file?")
    unpickled(), unpickled()  # the protocol, and facts about the writing machine
    outcome = unpickled()
    for key in unpickled():
        count = int.from_bytes(file.read(8), "little")
        dtype = storages[key].dtype
        assert dtype is not None
        _fill(storages[key], file.read(count * dtype.itemsize))
    return outcome


def _fill(storage: _Loaded, content: bytes) -> None:
    """The bytes come after the object: they go to the memory of the tensors that were made."""
    if storage.root is not None:
        node = storage.root._node
        node.buffer.numpy(np.uint8, (node.type.nbytes,))[...] = np.frombuffer(content, np.uint8)[: node.type.nbytes]


def _check_location(location: str, map_location: Any) -> None:
    """Raises RuntimeError for a storage that would go to a device which is not here."""
    wanted = location
    if isinstance(map_location, dict):
        wanted = str(map_location.get(location, location))
    elif callable(map_location) and not isinstance(map_location, Device):
        wanted = "cpu"
    elif map_location is not None:
        wanted = str(Device(map_location))
    if Device(wanted).type != "cpu":
        raise RuntimeError(
            f"Attempting to deserialize object on a {Device(wanted).type.upper()} device but torch.cuda.is_available() is "
            "False. If you are running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') "
            "to map your storages to the CPU."
        )
