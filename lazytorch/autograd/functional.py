"""Products with Jacobians and Hessians of functions of tensors (torch.autograd.functional)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.autograd.engine import as_tensors, grad
from lazytorch.autograd.modes import enable_grad
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function = Callable[..., Any]


def _inputs(inputs: Any, name: str, create_graph: bool) -> tuple[Tensor, ...]:
    """The inputs as tensors that gradients flow to: of their own, or those given when the result is to be differentiated."""
    several = as_tensors(inputs)
    for position, x in enumerate(several):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"The inputs given to {name} must be either a Tensor or a tuple of Tensors but the value at index "
                f"{position} has type {type(x)}."
            )
    if create_graph:
        return tuple([x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in several])
    return tuple([x.detach().clone().requires_grad_() for x in several])


def _outputs(func: Function, inputs: Sequence[Tensor], name: str) -> tuple[tuple[Tensor, ...], bool]:
    """What the function gives, and whether it is a tuple."""
    outcome = func(*inputs)
    several = tuple(as_tensors(outcome))
    for x in several:
        if not isinstance(x, Tensor):
            raise TypeError(f"The outputs of the user-provided function given to {name} must be tensors, not {type(x)}.")
    return several, isinstance(outcome, tuple | list)


def _vectors(v: Any, like: Sequence[Tensor], name: str) -> tuple[Tensor, ...]:
    """The vectors, one per tensor of `like`; ones for a single element."""
    if v is None:
        if len(like) != 1 or like[0]._node.type.numel != 1:
            raise RuntimeError(
                f"The vector v can only be None if the user-provided function given to {name} returns a single Tensor "
                "with a single element."
            )
        return (FUNCTIONS["ones_like"](like[0]),)
    several = tuple(as_tensors(v))
    if len(several) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(several)}.")
    for x, y in zip(several, like, strict=True):
        if x.shape != y.shape:
            raise RuntimeError(f"v has invalid size: should be {y.shape} but got {x.shape}.")
    return several


def _gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor | None], create_graph: bool
) -> tuple[Tensor, ...]:
    """Gradients, zeros where an input has no influence."""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
    if not pairs:
        return tuple([FUNCTIONS["zeros_like"](x) for x in inputs])
    found = grad(
        [y for y, _ in pairs],
        inputs,
        [v for _, v in pairs],
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    return tuple([FUNCTIONS["zeros_like"](x) if g is None else g for x, g in zip(inputs, found, strict=True)])


def _like(outcome: Sequence[Any], is_tuple: bool, create_graph: bool) -> Any:
    """As many results as there were arguments, without history unless it was asked for."""
    kept = tuple([x if create_graph or not isinstance(x, Tensor) else x.detach() for x in outcome])
    return kept if is_tuple else kept[0]


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the product of v with the Jacobian)."""
    with enable_grad():
        given = _inputs(inputs, "vjp", create_graph)
        outputs, is_tuple = _outputs(func, given, "vjp")
        found = _gradients(outputs, given, _vectors(v, outputs, "vjp"), create_graph)
    return _like(outputs, is_tuple, create_graph), _like(found, isinstance(inputs, tuple), create_graph)


def _push(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor], create_graph: bool
) -> tuple[Tensor, ...]:
    """The Jacobian times the vectors: the derivative of (u^T J) by u, which is linear in u."""
    probes = [FUNCTIONS["zeros_like"](y).requires_grad_() for y in outputs]
    pulled = _gradients(outputs, inputs, probes, True)
    return _gradients(pulled, probes, vectors, create_graph)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the product of the Jacobian with v), by differentiating twice in reverse."""
    with enable_grad():
        given = _inputs(inputs, "jvp", create_graph)
        vectors = _vectors(v, given, "jvp")
        outputs, is_tuple = _outputs(func, given, "jvp")
        found = _push(outputs, given, vectors, create_graph)
    return _like(outputs, is_tuple, create_graph), _like(found, is_tuple, create_graph)


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivative of every output element by every input element, [*output, *input].

    For several outputs or inputs, tuples of them (outputs outside). All rows are computed by one vectorised walk, whether
    or not `vectorize` asks for that, and in reverse mode whatever `strategy` says: the numbers are the same.
    """
    with enable_grad():
        given = _inputs(inputs, "jacobian", create_graph)
        outputs, is_tuple = _outputs(func, given, "jacobian")
        rows = [_like(_rows(y, given, create_graph), isinstance(inputs, tuple), create_graph) for y in outputs]
    return tuple(rows) if is_tuple else rows[0]


def _rows(y: Tensor, inputs: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
    """The derivatives of every element of one output, per input."""
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if y.requires_grad and y._node.type.numel:
        units = FUNCTIONS["eye"](y._node.type.numel, dtype=y.dtype, device=y.device).reshape((-1, *y.shape))
        found = grad(
            y, inputs, units, retain_graph=True, create_graph=create_graph, allow_unused=True, is_grads_batched=True
        )
    shapes = [(*y.shape, *x.shape) for x in inputs]
    return [
        FUNCTIONS["zeros"](shape, dtype=x.dtype, device=x.device) if g is None else g.reshape(shape)
        for shape, x, g in zip(shapes, inputs, found, strict=True)
    ]


def _scalar(func: Function, given: Sequence[Tensor], name: str) -> Tensor:
    outputs, _ = _outputs(func, given, name)
    if len(outputs) != 1 or outputs[0]._node.type.numel != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return outputs[0]


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function of one element, [*input, *input] (for several inputs, tuples of tuples)."""

    def slope(*given: Tensor) -> Any:
        found = _gradients([_scalar(func, given, "hessian")], given, [None], True)
        return found if isinstance(inputs, tuple) else found[0]

    return jacobian(slope, inputs, create_graph)


def vhp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the product of v with the Hessian)."""
    with enable_grad():
        given = _inputs(inputs, "vhp", create_graph)
        vectors = _vectors(v, given, "vhp")
        output = _scalar(func, given, "vhp")
        slopes = _gradients([output], given, [None], True)
        found = _gradients(slopes, given, vectors, create_graph)
    return _like([output], False, create_graph), _like(found, isinstance(inputs, tuple), create_graph)


def hvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the product of the Hessian with v): as `vhp`, since the Hessian is symmetric."""
    return vhp(func, inputs, v, create_graph, strict)
