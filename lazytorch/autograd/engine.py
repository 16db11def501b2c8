"""`Tensor.backward` and `autograd.grad`: tensors in, tensors out, over the walk in ir/backward.py."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from lazytorch.autograd.anomaly import ANOMALY, check_numbers
from lazytorch.history import HOOKED, Accumulator
from lazytorch.ir.backward import backward as walk
from lazytorch.ir.declaration import Signature
from lazytorch.ir.dialects import arith, tensor
from lazytorch.ir.trace import LONG_STEP, STATE, Node, record
from lazytorch.ir.types import TensorType
from lazytorch.ops.recording import attach, emit, wrap_all
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, assign, caller, value, wrap


def _one(like: Node) -> Node:
    """The cotangent of a scalar result."""
    type = like.type
    signature = _ONES.get(type)
    if signature is None:
        number = 1.0 if type.dtype.kind == "f" else 1
        operator = arith.constant.operator(value=number, type=TensorType(type.dtype, (), type.device))
        signature = _ONES[type] = operator.signature()
    return record(STATE.trace, signature, (), None)


_ONES: dict[TensorType, Signature] = {}


def _seed(output: Tensor, gradient: Tensor | None) -> Node:
    node = value(output)
    if gradient is None:
        if node.type.numel != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return emit_shape(_one(node), node)
    seed = value(gradient)
    if seed.type.shape != node.type.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of {output.shape}."
        )
    return seed


def emit_shape(node: Node, like: Node) -> Node:
    """A number in the shape of a one-element value."""
    return node if like.type.shape == () else emit(tensor.reshape, node, shape=like.type.shape)


def _check(output: Tensor) -> None:
    if not output.requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")


class _Hooks:
    """Applies the hooks of tensors, and keeps the gradients that were asked to be retained."""

    def __init__(self) -> None:
        self.by_node: dict[int, list[Tensor]] = {}
        for owner in list(HOOKED.values()):
            self.by_node.setdefault(id(value(owner)), []).append(owner)
        self.retained: list[Tensor] = []

    def __call__(self, node: Node, cotangent: Node) -> Node:
        for owner in self.by_node.get(id(node), ()):
            for hook in list(getattr(owner, "_hooks", {}).values()):
                replaced = hook(wrap(STATE.trace, cotangent))
                if replaced is not None:
                    cotangent = value(replaced)
            if getattr(owner, "_retain", False):
                _deposit(owner, cotangent)
        return cotangent


def retain(self: Tensor) -> None:
    """Keep the gradient of a tensor that is no leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if not self.is_leaf:
        self._retain = True
        HOOKED[id(self)] = self


attach("retain_grad", retain)


def _deposit(owner: Tensor, gradient: Node, create_graph: bool = False) -> None:
    """Set or add to `.grad`."""
    trace = STATE.trace
    if owner.grad is None:
        owner.grad = wrap(trace, gradient)
        return
    before, trace.grad_enabled = trace.grad_enabled, create_graph
    try:
        total = emit(arith.add, value(owner.grad), gradient)
    finally:
        trace.grad_enabled = before
    if create_graph:
        owner.grad = wrap(trace, total)
    else:
        assign(owner.grad, total)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of the outputs to `.grad` of the leaves they depend on (torch.autograd.backward)."""
    trace = STATE.trace
    trace.place = caller()
    if isinstance(tensors, Tensor) and (grad_tensors is None or isinstance(grad_tensors, Tensor)):
        _check(tensors)
        roots, seeds = [value(tensors)], [_seed(tensors, grad_tensors)]
    else:
        outputs = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        gradients = [grad_tensors] if grad_tensors is None or isinstance(grad_tensors, Tensor) else list(grad_tensors)
        for output in outputs:
            _check(output)
        gradients += [None] * (len(outputs) - len(gradients))
        roots = [value(output) for output in outputs]
        seeds = [_seed(output, gradient) for output, gradient in zip(outputs, gradients, strict=True)]
    arrived = walk(
        trace,
        roots,
        seeds,
        create_graph=create_graph,
        retain_graph=bool(create_graph if retain_graph is None else retain_graph),
        hook=_Hooks() if HOOKED else None,
        check=check_numbers if ANOMALY.enabled and ANOMALY.check_nan else None,
    )
    wanted = None if inputs is None else {id(x) for x in ([inputs] if isinstance(inputs, Tensor) else inputs)}
    owners, found = [], []
    for node, gradient in arrived.items():
        history = node.history
        if type(history) is Accumulator:
            owner = history.tensor()
            if owner is not None and (wanted is None or id(owner) in wanted):
                owners.append(owner)
                found.append(gradient)
    for owner, made in zip(owners, wrap_all(trace, found), strict=True):
        if owner.grad is None:
            owner.grad = made
        else:
            _deposit(owner, made._node, create_graph)
    if trace.backwards and len(trace.nodes) > LONG_STEP and trace.observer is None:
        # A loop that steps by hand and asks for nothing: programs end alike here, as they do where an optimizer steps.
        synchronize(trace, (), "another backward() has ended")
    trace.backwards += 1


def _method(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add this tensor's gradients to `.grad` of the leaves it depends on."""
    backward(self, gradient, retain_graph, create_graph, inputs)


attach("backward", _method)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the outputs with respect to the inputs, without touching `.grad` (torch.autograd.grad).

    is_grads_batched: grad_outputs have one more leading dimension, and so have the gradients: a walk for each of its slices,
    all at once.
    """
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other "
            "parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    if is_grads_batched:
        return _batched(outputs, inputs, grad_outputs, (create_graph, allow_unused, materialize_grads))
    results = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    seeds = [grad_outputs] if grad_outputs is None or isinstance(grad_outputs, Tensor) else list(grad_outputs)
    trace = STATE.trace
    trace.place = caller()
    for output in results:
        _check(output)
    for x in wanted:
        if not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    seeds += [None] * (len(results) - len(seeds))
    nodes = [value(x) for x in wanted]
    arrived = walk(
        trace,
        [value(x) for x in results],
        [_seed(output, seed) for output, seed in zip(results, seeds, strict=True)],
        create_graph=create_graph,
        retain_graph=bool(create_graph if retain_graph is None else retain_graph),
        stops=nodes,
        hook=_Hooks() if HOOKED else None,
        check=check_numbers if ANOMALY.enabled and ANOMALY.check_nan else None,
    )
    there = [_arrived_at(node, arrived, create_graph) for node in nodes]
    if not (materialize_grads or allow_unused) and None in there:
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
            "this is the desired behavior."
        )
    tensors = iter(wrap_all(trace, [node for node in there if node is not None]))
    found = [None if node is None else next(tensors) for node in there]
    if materialize_grads:
        return tuple([x.new_zeros(x.shape) if one is None else one for x, one in zip(wanted, found, strict=True)])
    return tuple(found)


def _batched(outputs: Any, inputs: Any, grad_outputs: Any, options: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
    """`grad` for every slice of the cotangents."""
    from lazytorch.vectorization import vmap  # loaded when first used: `import lazytorch` need not wait for it

    create_graph, allow_unused, materialize_grads = options
    present: list[bool] = []

    def one(*seeds: Tensor) -> tuple[Tensor | None, ...]:
        others = {"allow_unused": allow_unused, "materialize_grads": materialize_grads}
        found = grad(outputs, inputs, seeds, True, create_graph, **others)
        present[:] = [g is not None for g in found]
        return tuple([g for g in found if g is not None])

    several = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    rows = iter(vmap(one)(*several))
    return tuple([next(rows) if there else None for there in present])


def _arrived_at(node: Node, arrived: dict[Node, Node], create_graph: bool) -> Node | None:
    """The gradient of a value; of an autograd leaf, also that of the contents it had before it was written to."""
    if not isinstance(node.history, Accumulator):
        return arrived.get(node)
    trace = STATE.trace
    before, trace.grad_enabled = trace.grad_enabled, create_graph
    total = None
    try:
        for leaf, gradient in arrived.items():
            if leaf.history is node.history:
                total = gradient if total is None else emit(arith.add, total, gradient)
    finally:
        trace.grad_enabled = before
    return total


def as_tensors(values: Any) -> Sequence[Any]:
    """A tuple of what may be one value."""
    return values if isinstance(values, tuple | list) else (values,)
