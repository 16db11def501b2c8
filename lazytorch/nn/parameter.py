"""Parameters and buffers: tensors that a module registers when they are assigned as attributes (torch.nn.parameter)."""

from __future__ import annotations

from typing import Any

from lazytorch.default_dtype import default_dtype
from lazytorch.history import Accumulator
from lazytorch.ir.trace import STATE
from lazytorch.ops.creation import empty
from lazytorch.printing import format_parameter
from lazytorch.tensor import Tensor, own_node, realize


class Parameter(Tensor):
    """A tensor that is a module's parameter when it is assigned as an attribute."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        self: Parameter = object.__new__(cls)
        source = empty(0) if data is None else data.detach()
        self._node = own_node(source) if data is not None and data.requires_grad else source._node
        self._base = None
        self._version_count = 0
        self.grad = None
        if requires_grad:
            self._node = own_node(self)
            self._node.history = Accumulator(self)
        STATE.trace.live.append(self)
        return self

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def _text(self) -> str:
        realize(self, "print")
        return format_parameter(
            self.detach()._array("print"),
            requires_grad=self.requires_grad,
            dtype_name=self.dtype.torch_name,
            default_dtype_name=default_dtype().torch_name,
        )


class _BufferType(type):
    """A buffer is any tensor marked as one."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferType):
    """A tensor that is a module's buffer when it is assigned as an attribute; `persistent`: part of the state dict."""

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        out = (empty(0) if data is None else data).detach()
        out.requires_grad_(data is not None and data.requires_grad)
        out.__dict__["persistent"] = persistent
        out.__dict__["_is_buffer"] = True
        return out


class _Uninitialized(Tensor):
    """A tensor without a shape yet."""

    _becomes: type[Tensor] = Tensor

    @property
    def shape(self) -> Any:
        """Raises RuntimeError: there is none yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized module. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary tensor of a shape, with undefined elements."""
        requires_grad = self.requires_grad
        fresh = empty(*shape, dtype=dtype or self.dtype, device=device)
        self.__class__ = self._becomes  # type: ignore[assignment]
        self._node = own_node(fresh)
        if requires_grad:
            self._node.history = Accumulator(self)

    def _text(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape a lazy module finds out."""

    _becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return Parameter.__new__(cls, empty(0, dtype=dtype, device=device), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape a lazy module finds out."""

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True) -> Any:
        out = empty(0, dtype=dtype, device=device)
        out.__class__ = cls
        out.__dict__["persistent"] = persistent
        out.__dict__["_is_buffer"] = True
        return out


def is_lazy(x: Any) -> bool:
    """Whether something is a parameter or buffer without a shape yet."""
    return isinstance(x, _Uninitialized)
