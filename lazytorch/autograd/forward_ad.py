"""Forward-mode differentiation by dual tensors (torch.autograd.forward_ad)."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

from lazytorch.ir.dialects import tensor as operations
from lazytorch.ir.trace import STATE, record_node
from lazytorch.ir.transformations import ForwardLevel
from lazytorch.ops.recording import place
from lazytorch.tensor import Tensor, value, wrap

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns; the tangent is None where there is none."""

    primal: Tensor
    tangent: Tensor | None


class _DualLevel(ForwardLevel):
    """The level of `dual_level`, of which there is one at a time; transformations of torch.func have their own."""


def _current() -> _DualLevel | None:
    return next((level for level in STATE.trace.levels if isinstance(level, _DualLevel)), None)


def enter_dual_level() -> int:
    """Begin a level, within which tensors can carry tangents. Raises RuntimeError within another one."""
    if _current() is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    STATE.trace.levels.append(_DualLevel(STATE.trace))
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: all tangents are gone. Raises RuntimeError where there is none."""
    current = _current()
    if current is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    STATE.trace.levels.remove(current)


class dual_level:
    """A block within which tensors can carry tangents: `with dual_level(): ...`"""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exit_dual_level()


def attach_tangent(level: ForwardLevel, x: Tensor, tangent: Tensor) -> Tensor:
    """The same value with a tangent. Raises torch's RuntimeError where the two differ in shape."""
    if x.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    trace = STATE.trace
    out = wrap(trace, record_node(trace, operations.alias.operator(), (value(x),)))
    level.tangents[value(out)] = value(tangent)
    return out


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """The tensor with a tangent of its shape, which what is computed from it carries on. Raises RuntimeError outside of a
    level, ValueError for tensors that are not of floating-point numbers."""
    current = _current()
    if current is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, x in (("primal", tensor), ("tangent", tangent)):
        if x.dtype.kind not in "fc":
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {x.dtype}")
    place()
    return attach_tangent(current, tensor, tangent)


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The value of a tensor, and the tangent that it has by now."""
    current = _current()
    if current is None:
        return UnpackedDualTensor(tensor, None)
    place()
    trace, node = STATE.trace, value(tensor)
    (tangent,) = current.push((node,))
    primal: Any = tensor
    if tangent is not None:
        primal = wrap(trace, record_node(trace, operations.alias.operator(), (node,)))
        current.tangents[value(primal)] = None
    return UnpackedDualTensor(primal, None if tangent is None else wrap(trace, tangent))
