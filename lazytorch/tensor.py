"""The Tensor: a storage with a view of it, over values of the lazy graph.

A tensor without `_base` is a storage: `_node` is its present contents, and every write gives it a new node and version.
A view holds its storage in `_base` and the view operations from there in `_view`; reading a stale view applies them to the
storage's present contents, and writing through one applies their inverses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import getrefcount
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytorch import dtypes, layout
from lazytorch.calling import PACKAGE as PACKAGE
from lazytorch.calling import caller
from lazytorch.codegen.views import Access, contiguous
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.history import Accumulator, GradFunction, add_hook
from lazytorch.ir.declaration import Operator
from lazytorch.ir.dialects import tensor, tensor_transfer
from lazytorch.ir.saved import SHARED
from lazytorch.ir.trace import FREED, STATE, Node, Trace, enter, gradient_name, leaf, record, record_node
from lazytorch.ir.types import TensorType
from lazytorch.ir.write_through import write_through
from lazytorch.parts import moving_read, moving_write, rows_of_leaf
from lazytorch.printing import format_tensor
from lazytorch.runtime.buffer import READERS, Buffer
from lazytorch.runtime.device import Device, device_called
from lazytorch.runtime.session import synchronize
from lazytorch.size import Size

_new = object.__new__


class Tensor:
    """A multi-dimensional array whose operations are recorded and computed when a value is asked for (torch.Tensor)."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_base",
        "_hooks",
        "_node",
        "_retain",
        "_seen",
        "_version_count",
        "_view",
        "grad",
    )
    _node: Node
    _base: Tensor | None
    _view: tuple[Operator, ...]
    _seen: int
    _version_count: int
    _hooks: dict[int, Any]
    _retain: bool
    grad: Tensor | None
    __array_priority__ = 1000

    if TYPE_CHECKING:
        # Functions and operators are attached by their declarations in lazytorch/ops.
        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __and__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __neg__(self) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __rtruediv__(self, other: Any) -> Any: ...
        def __pow__(self, other: Any) -> Any: ...
        def __floordiv__(self, other: Any) -> Any: ...
        def __getitem__(self, key: Any) -> Any: ...
        def __setitem__(self, key: Any, new: Any) -> None: ...

    # -- what it is ------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return Size(self._node.type.shape)

    @property
    def dtype(self) -> DType:
        """The element type."""
        dtype: DType = self._node.type.dtype
        return dtype

    @property
    def device(self) -> Device:
        """Where it lives."""
        return device_called(self._node.type.device)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it or through it."""
        return self._node.history is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded differentiable operation made it."""
        return self._node.history is not True and self._node.history is not FREED

    @property
    def grad_fn(self) -> GradFunction | None:
        """The operation that made it, if gradients flow through."""
        return None if self.is_leaf else GradFunction(value(self))

    @property
    def _version(self) -> int:
        return root_of(self)._version_count

    @property
    def data(self) -> Tensor:
        """The same storage without history; autograd does not notice what is written through it."""
        return make_view(self, DATA, caller())

    @data.setter
    def data(self, other: Tensor) -> None:
        history = self._node.history
        node = record_node(STATE.trace, tensor.detach.operator(), (value(other),), False)
        if isinstance(history, Accumulator):
            node.history = history
        if self._base is None and isinstance(self._node.buffer, Buffer) and self._node.buffer.shared:
            self._node = leaf(self._node.type, self._node.buffer)
        self._base = None
        _become(self, node)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make a leaf collect its gradient, or stop doing so."""
        if not requires_grad:
            if not self.is_leaf:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                    "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            if self._node.history is not None:
                _become(self, own_node(self))
                self._node.history = None
            return self
        if self.dtype.kind not in "fc":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if self._node.history is None:
            _become(self, own_node(self))
            self._node.history = Accumulator(self)
        return self

    # -- strides ------------------------------------------------------------

    def _access(self) -> Access:
        """Strides and offset on the storage, as torch reports them."""
        if self._base is None:
            return contiguous(self._node.type.shape)
        return layout.access(self._base._node.type, self._view)

    def stride(self, dim: int | None = None) -> Any:
        """Elements to skip per step along each dimension, or along one."""
        strides = self._access().strides
        return strides if dim is None else strides[dim]

    def storage_offset(self) -> int:
        """The position of the first element in the storage."""
        return self._access().offset

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        if self._base is None:
            return True
        return layout.is_row_major(self._node.type.shape, self._access().strides)

    def data_ptr(self) -> int:
        """The address of the first element; computes the storage."""
        root = root_of(self)
        realize(root, "data_ptr()")
        return int(root._node.buffer.ptr) + self._access().offset * self.dtype.itemsize

    # -- values ------------------------------------------------------------

    def realize(self) -> Tensor:
        """Compute the value now, with everything pending; of a view, the storage, which it is read through."""
        realize(root_of(self), "realize()")
        return self

    def _array(self, cause: str) -> np.ndarray:
        """The elements as an array on the value's own memory; not to be written to."""
        node = realize(self, cause)
        if isinstance(node.buffer, Buffer):
            return node.buffer.numpy(node.type.dtype.numpy, node.type.shape)
        return np.asarray(node.buffer, node.type.dtype.numpy)

    def item(self) -> Any:
        """The only element as a Python number. Raises RuntimeError when there are several."""
        if self._node.type.numel != 1:
            raise RuntimeError(f"a Tensor with {self._node.type.numel} elements cannot be converted to Scalar")
        node = realize(self, "item()")
        reader = READERS.get(node.type.dtype)
        if reader is not None and type(node.buffer) is Buffer:
            return reader.from_address(node.buffer.ptr).value
        return _python(self._array("item()"), self.dtype).reshape(()).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return _python(self._array("tolist()"), self.dtype).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """An array on the tensor's memory. Raises RuntimeError for a tensor that requires grad, unless gradients are off."""
        if self.requires_grad and STATE.trace.grad_enabled and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.dtype is dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        if self._node.type.device is not None:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        buffer, access = memory_of(self, "numpy()")
        itemsize = self.dtype.itemsize
        if any(stride < 0 for stride in access.strides):
            return self._array("numpy()").copy()
        strides = [stride * itemsize for stride in access.strides]
        return buffer.numpy(self.dtype.numpy, access.shape, strides, access.offset * itemsize)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __bool__(self) -> bool:
        if self._node.type.numel != 1:
            if self._node.type.numel == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._array("bool()").reshape(()))

    def _scalar(self) -> Any:
        if self._node.type.numel != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __float__(self) -> float:
        return float(self._scalar())

    def __int__(self) -> int:
        return int(self._scalar())

    def __complex__(self) -> complex:
        return complex(self._scalar())

    def __index__(self) -> int:
        if self.dtype.kind not in "uib" or self._node.type.numel != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self._node.type.shape:
            raise TypeError("len() of a 0-d tensor")
        return int(self._node.type.shape[0])

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return self._text()

    def __str__(self) -> str:
        return self._text()

    def __format__(self, spec: str) -> str:
        if not self._node.type.shape:
            return format(self.item(), spec)
        return format(self._text(), spec) if spec else self._text()

    def _text(self) -> str:
        node = value(self)
        for number, level in reversed(list(enumerate(STATE.trace.levels, 1))):
            batch = level.batch_of(node)
            if batch is not None:
                inside = wrap(STATE.trace, batch)._text().replace("\n", "\n    ")
                return f"BatchedTensor(lvl={number}, bdim=0, value=\n    {inside}\n)"
        array = self.detach()._array("print")
        name = None if self.is_leaf else gradient_name(node)
        return format_tensor(
            array,
            dtype_name=self.dtype.torch_name,
            default_dtype_name=default_dtype().torch_name,
            grad_fn_name=name,
            device=node.type.device,
            requires_grad=self.requires_grad and name is None,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
            )
        if id(self) in memo:
            found: Tensor = memo[id(self)]
            return found
        copy = from_array(self.detach()._array("deepcopy").copy(), self.dtype)
        if self._node.type.device is not None:
            copy = copy.to(self.device)
        copy.__class__ = type(self)
        memo[id(self)] = copy
        if self.requires_grad:
            copy.requires_grad_()
        if self.grad is not None:
            copy.grad = self.grad.__deepcopy__(memo)
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        array = self.detach()._array("pickle").copy()
        return _rebuild, (type(self), array, self.dtype.name, self.requires_grad)

    def detach(self) -> Tensor:
        """The same storage, through which no gradient flows."""
        return make_view(self, tensor.detach.operator(), caller())

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Any:
        """Call `hook(gradient)` when the gradient of this tensor is computed; what it returns replaces it."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return add_hook(self, hook)


AT_ONCE = "eager mode, or memory was read that NumPy shares"
"""Why a trace whose limit is 0 is run."""


DATA = tensor.detach.operator("Data")
"""The view that `tensor.data` is."""


def _python(array: np.ndarray, dtype: DType) -> np.ndarray:
    """bfloat16 patterns as numbers; anything else as it is."""
    if dtype is dtypes.bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _rebuild(kind: type[Tensor], array: np.ndarray, dtype: str, requires_grad: bool) -> Tensor:
    out = from_array(array, dtypes.named(dtype))
    out.__class__ = kind
    return out.requires_grad_() if requires_grad else out


# -- recording ------------------------------------------------------------


def root_of(self: Tensor) -> Tensor:
    """The tensor that owns the storage."""
    return self if self._base is None else self._base


def value(self: Tensor) -> Node:
    """The present value: a view whose storage was written is read anew."""
    base = self._base
    if base is not None and self._seen != base._version_count:
        return reread(self)
    return self._node


def reread(self: Tensor) -> Node:
    """Apply the view to the storage's present contents, with the storage's history whatever the grad mode."""
    base, trace = self._base, STATE.trace
    assert base is not None
    node = base._node
    grad_enabled, trace.grad_enabled = trace.grad_enabled, True
    try:
        for operator in self._view:
            node = record_node(trace, operator, (node,))
            node.storage = SHARED
    finally:  # recording may run a program, and that may fail
        trace.grad_enabled = grad_enabled
    node.storage = layout.shared(base._node.type, self._view)
    if isinstance(self._node.history, Accumulator):  # a view that was made a leaf stays one
        node.history = self._node.history
    self._node = node
    self._seen = _seen_now(self, base)
    return node


def wrap(trace: Trace, node: Node) -> Tensor:
    """A new tensor of a recorded value; runs the trace when it has become long."""
    self = _new(Tensor)
    self._node = node
    self._base = None
    self._version_count = 0
    self.grad = None
    trace.live.append(self)
    if node.number >= trace.limit and trace.comes_round():
        anchor = trace.anchor
        synchronize(trace, (), "the pending graph is long" if trace.limit else AT_ONCE)
        trace.anchor = anchor
    return self


def make_view(self: Tensor, operator: Operator, place: tuple[CodeType, int]) -> Tensor:
    """A view of a tensor through one more view operation."""
    trace = STATE.trace
    source = value(self)
    trace.place = place
    root, operators = (self, (operator,)) if self._base is None else (self._base, (*self._view, operator))
    part = rows_of_leaf(source, operator)
    if part is not None:
        out = of_leaf(part)
    else:
        node = moving_read(trace, root, source, operators, place) or record_node(trace, operator, (source,))
        node.storage = layout.shared(root._node.type, operators)
        out = wrap(trace, node)
    out._base, out._view = root, operators
    out._seen = _seen_now(out, root)
    return out


def _seen_now(view: Tensor, root: Tensor) -> int:
    """What a view notes of its storage's version: none where others may write to the memory, so that each use reads it."""
    buffer = root._node.buffer
    if isinstance(buffer, Buffer) and buffer.shared and view._node.history is None:
        return -1
    return root._version_count


def arranged(trace: Trace, node: Node, operands: tuple[Node, ...]) -> Tensor:
    """The tensor of an elementwise result. Its elements lie in memory in the order of the operands' elements, as torch lays
    them out: where that is not row-major order, the tensor is a permuted view of a storage that is."""
    order = layout.memory_order(node.type.shape, operands)
    if order is None:
        return wrap(trace, node)
    stored = wrap(trace, record_node(trace, tensor.permute.operator(order=order), (node,)))
    label = gradient_name(node).replace("Backward", "")
    back = tensor.permute.operator(label, order=tensor.inverse_order(order))
    return make_view(stored, back, trace.place or caller())


def own_node(self: Tensor) -> Node:
    """A node of this tensor's alone: with the same memory for a leaf, else a recorded alias."""
    node = value(self)
    if node.buffer is not None and node.signature is None:
        return leaf(node.type, node.buffer)
    return record_node(STATE.trace, tensor.detach.operator(), (node,), False)


def _become(self: Tensor, node: Node) -> None:
    """Give a tensor of the past another value, which the next run has to compute if it is pending."""
    self._node = node
    if node.buffer is None:
        STATE.trace.live.append(self)


def realize(self: Tensor, cause: str) -> Node:
    """Make sure that the value is computed."""
    node = value(self)
    for level in STATE.trace.levels:
        level.check(node, cause)
    if node.buffer is None:
        trace = STATE.trace
        if node.epoch is not trace.epoch:
            enter(trace, node)
        synchronize(trace, (node,), cause)
    return node


def memory_of(self: Tensor, cause: str) -> tuple[Buffer, Access]:
    """The storage's own memory, computed if need be, and where the tensor lies in it. It is handed out: from now on it
    counts as shared."""
    root = root_of(self)
    if STATE.trace.nodes:  # what is pending may read the memory that is handed out: it sees the values of now
        synchronize(STATE.trace, (), cause)
    node = realize(root, cause)
    if not isinstance(node.buffer, Buffer):  # a Python number
        fresh = from_array(np.asarray(node.buffer, node.type.dtype.numpy), node.type.dtype, root)
        root._node = realize(fresh, cause)
        root._node.history = node.history
    buffer = _own_buffer(root)
    buffer.shared = True
    if self is not root:
        self._seen = _seen_now(self, root)
    return buffer, self._access()


def _own_buffer(root: Tensor) -> Buffer:
    """The storage's memory, copied first if other values may lie in it too."""
    node = root._node
    buffer: Buffer = node.buffer
    if not buffer.shared and getrefcount(buffer) > 3:  # the node, the variable here, the call
        buffer = node.buffer = buffer.copy()
        root._version_count += 1
    return buffer


def from_array(array: np.ndarray, dtype: DType, like: Tensor | None = None) -> Tensor:
    """A tensor with a copy of the array's elements (bfloat16: of their bit patterns), on the device of `like`."""
    out = of_leaf(leaf(TensorType(dtype, array.shape), Buffer.holding(array)))
    device = None if like is None else like._node.type.device
    if device is None:
        return out
    return wrap(STATE.trace, record_node(STATE.trace, tensor_transfer.transfer.operator(device=device), (out._node,)))


def of_leaf(node: Node) -> Tensor:
    """A tensor of a value that holds data."""
    self = _new(Tensor)
    self._node = node
    self._base = None
    self._version_count = 0
    self.grad = None
    return self


# -- writing ------------------------------------------------------------


def assign(self: Tensor, node: Node) -> Tensor:
    """Write: the tensor's elements become those of `node`, which has its shape and dtype. All its aliases see it."""
    trace = STATE.trace
    root = self._base if self._base is not None else self
    own = isinstance(self._node.history, Accumulator)
    device = self._node.type.device
    if node.type.device != device:
        node = record_node(trace, tensor_transfer.transfer.operator(device=device or "cpu"), (node,))
    if trace.grad_enabled and (own or (isinstance(root._node.history, Accumulator) and not _detached(self))):
        kind = "a leaf Variable" if own else "a view of a leaf Variable"
        raise RuntimeError(f"{kind} that requires grad is being used in an in-place operation.")
    if self._base is None:
        _replace(trace, self, node)
        return self
    contents = moving_write(trace, root, self, node) or write_through(trace, self._view, root._node, node)
    noted = DATA not in self._view
    if noted:
        self._node.storage = (root._version_count, trace.place)
    _replace(trace, root, contents, noted)
    if own or (node.history is None and root._node.history is not None):
        return self  # read again when it is asked for, with its history
    self._node = node
    self._seen = _seen_now(self, root)
    return self


def assign_fresh(trace: Trace, tensors: Iterable[Tensor], nodes: Iterable[Node]) -> None:
    """`assign` under no_grad of values that were just recorded and that no other tensor has: nothing needs an alias. As
    many nodes are taken as there are tensors."""
    place, epoch, updates = trace.place, trace.epoch, trace.updates
    for target, node in zip(tensors, nodes, strict=False):
        old = target._node
        buffer = old.buffer
        if target._base is not None or (buffer is not None and (type(buffer) is not Buffer or buffer.shared)):
            assign(target, node)
            continue
        old.storage = (target._version_count, place)
        history = old.history
        if type(history) is Accumulator:
            node.history = history
        if buffer is not None:
            updates.setdefault(target, old)
        elif old.epoch is not epoch or old in trace.again:
            trace.live.append(target)
        target._node = node
        target._version_count += 1
    if not trace.limit:
        synchronize(trace, (), AT_ONCE)


def _detached(self: Tensor) -> bool:
    return self._base is not None and any(operator.declaration is tensor.detach for operator in self._view)


def _with_history(trace: Trace, old: Node, new: Node) -> Node:
    """What is written has a history if what it replaces has one: the same one if no gradients are recorded."""
    if (old.history is not True and old.history is not FREED) or new.history is not None:
        return new
    operator = (tensor.forget if trace.grad_enabled else tensor.overwrite).operator()
    signature = operator.signature(old.type, new.type)
    return record(trace, signature, (old, new), True if trace.grad_enabled else old.history)


def _replace(trace: Trace, root: Tensor, node: Node, noted: bool = True) -> None:
    """Give a storage new contents. noted: a derivative that needs the old ones is an error from now on."""
    old = root._node
    for level in trace.levels:
        level.written.append((root, old))
    if noted:
        old.storage = (root._version_count, trace.place)
    node = _with_history(trace, old, node)
    if node.signature is None or (isinstance(old.history, Accumulator) and node is not old):
        node = record_node(trace, tensor.alias.operator(), (node,))
    if isinstance(old.history, Accumulator):
        node.history = old.history
    if isinstance(old.buffer, Buffer):
        trace.updates.setdefault(root, old)
    elif old.epoch is not trace.epoch or old in trace.again:
        trace.live.append(root)
    root._node = node
    root._version_count += 1
    if isinstance(old.buffer, Buffer) and old.buffer.shared:
        synchronize(trace, (), "a write to memory that NumPy shares")
    elif not trace.limit:
        synchronize(trace, (), AT_ONCE)
