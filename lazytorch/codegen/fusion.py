"""Fusion: from a function of tensor operations to one of `fused.kernel`s.

Elementwise operations and views are pulled into whatever reads them; a value gets a buffer of its own only where it must
(a result, an operand that a kernel reads whole, a reshape that strides cannot express, a very long chain). Buffers of one
shape that can be computed together become one kernel, and a contraction takes the elementwise kernel after it as epilogue.
Without fusion every elementwise operation gets a buffer and a kernel of its own; the bits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.codegen.buffers import WHOLE, Buffers, is_pulled, on_host, reads_of, takes_epilogue
from lazytorch.codegen.expression import tensor_type
from lazytorch.codegen.group import Group
from lazytorch.codegen.kernel_graph import KernelGraph
from lazytorch.codegen.row_fusion import RowFusion
from lazytorch.codegen.schedules.attention import together
from lazytorch.codegen.schedules.contract import joined
from lazytorch.codegen.schedules.scan import STEP
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, IRBuilder, Operation, Region, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects import fused, tensor


def fuse(func: Operation, enabled: bool = True) -> None:
    """Rewrite the function in place: afterwards it holds fused.kernel operations, reshapes of buffers and the return."""
    block = func.region.block
    operations = [operation for operation in block if operation is not block.terminator]
    buffers = Buffers(block, operations, enabled)
    kept = {*block.terminator.operands, *buffers.reshaped.values()}
    groups = _grouped(operations, buffers, kept, enabled)
    _rewrite(block, operations, groups, buffers)


def _grouped(operations: Sequence[Operation], buffers: Buffers, kept: set[Value], enabled: bool) -> list[Group]:
    """Kernels in an order in which they can run. kept: values that are in memory whoever reads them."""
    graph = KernelGraph()
    group_of: dict[Value, Group] = {}
    groups: list[Group] = []
    readers: dict[Value, list[Value]] = {}
    for operation in operations:
        for value in operation.results:
            if value not in buffers.chosen or value in group_of:
                continue
            if value in buffers.reshaped:
                if (below := buffers.reshaped[value]) in group_of:
                    group_of[value] = group_of[below]
                continue
            read_values = reads_of(operation, buffers)
            for read in read_values:
                readers.setdefault(read, []).append(value)
            reads = [group_of[read] for read in read_values if read in group_of]
            group = _home(operation, groups, reads, graph, buffers) if enabled else None
            if enabled and operation.has(Trait.TILED):
                group = _tiled_home(operation, groups)
            if group is None:
                group = Group(_schedule_name(operation), buffers.shape(value))
                groups.append(group)
                graph.add(group)
            group.values += operation.results if not is_pulled(operation) else [value]
            for result in operation.results:
                group_of[result] = group
            for read_group in reads:
                if read_group is not group:
                    graph.connect(read_group, group)
    if enabled:
        _attach_epilogues(operations, buffers, group_of, graph, kept)
        RowFusion(graph, group_of, readers, buffers.chosen, kept).run(operations)
    return graph.in_order(groups)


def _schedule_name(operation: Operation) -> str:
    if is_pulled(operation):
        return "map"
    if on_host(operation):
        return "host"
    if operation.has(Trait.REDUCTION):
        return "reduce"
    if operation.has(Trait.CONTRACTION):
        return "contract"
    if operation.declaration in STEP:
        return "scan"
    if operation.has(Trait.TILED):
        return "attention"
    name = WHOLE.get(operation.declaration)
    if name is None:
        raise CompileError(f"no schedule takes {operation.name}", stage="fusion", location=operation.location)
    return name


def _reads_through_views(operation: Operation, buffers: Buffers, members: Sequence[Value]) -> bool:
    """Whether a kernel for this operation reads one of the members through a view."""
    views: list[Value] = []
    seen: set[Operation] = set()
    stack: list[Operation] = [operation]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if current.has(Trait.VIEW):
            views.append(current.operands[0])
            continue
        for value in current.operands:
            made = value.defining_op()
            if made is not None and value not in buffers.chosen:
                stack.append(made)
    below: set[Value] = set()
    while views:
        value = views.pop()
        if value in members:
            return True
        made = value.defining_op()
        if value not in below and made is not None and value not in buffers.chosen:
            views += made.operands
        below.add(value)
    return False


def _home(
    operation: Operation, groups: Sequence[Group], reads: Sequence[Group], graph: KernelGraph, buffers: Buffers
) -> Group | None:
    """A map kernel of the same shape that can also write this value: no path may lead from it back to itself."""
    if not is_pulled(operation):
        return None
    shape = buffers.shape(operation.result)
    for group in reversed(groups[-32:]):
        if group.schedule != "map" or group.shape != shape or len(group.values) >= 16:
            continue
        if any(read is not group and graph.leads(group, read) for read in reads):
            continue
        # A member read through a view is computed again from what the member reads, which strides may not express.
        if group not in reads or not _reads_through_views(operation, buffers, group.values):
            return group
        if buffers.fit_together([*group.values, operation.result]):
            return group
    return None


def _tiled_home(operation: Operation, groups: Sequence[Group]) -> Group | None:
    """A kernel that yields this result, too: it reads the same operands, so no path leads from it to them."""
    for group in reversed(groups):
        made = group.values[0].defining_op()
        if group.schedule == "attention" and made is not None and together(made, operation):
            return group
    return None


def _attach_epilogues(
    operations: Sequence[Operation],
    buffers: Buffers,
    group_of: dict[Value, Group],
    graph: KernelGraph,
    kept: set[Value],
) -> None:
    """A contraction or scan whose only reader is one map kernel at the same index becomes part of it; a contraction also
    through a reshape that joins dimensions (the groups and channels of a convolution)."""
    for operation in operations:
        if not takes_epilogue(operation):
            continue
        value = operation.result
        own = group_of[value]
        readers = graph.after(own)
        seen = joined(value) if operation.has(Trait.CONTRACTION) else value
        if len(readers) != 1 or readers[0].schedule != "map" or readers[0].shape != tensor_type(seen).shape:
            continue
        if value in kept:
            continue
        reader = readers[0]
        if not _only_at_same_index(seen, buffers, set(reader.values)):
            continue
        reader.schedule = own.schedule
        reader.values.insert(0, value)
        buffers.chosen.discard(value)
        for before in graph.before(own):
            graph.connect(before, reader)
        graph.remove(own)
        group_of[value] = reader


def _only_at_same_index(value: Value, buffers: Buffers, members: set[Value]) -> bool:
    """Whether every use, up to the buffers of one kernel, is elementwise in the value's own shape."""
    shape = tensor_type(value).shape
    stack = [value]
    seen = set()
    while stack:
        current = stack.pop()
        for user in current.users:
            if not user.has(Trait.ELEMENTWISE) or tensor_type(user.result).shape != shape:
                # Other kernels read a member's buffer as they like; a member that does computes it anew.
                if current not in members or _leads_to(user, members, buffers):
                    return False
                continue
            result = user.result
            if result in buffers.chosen and result not in members:
                if current not in members:
                    return False
            elif result not in seen:
                seen.add(result)
                stack.append(result)
    return True


def _leads_to(operation: Operation, members: set[Value], buffers: Buffers) -> bool:
    """Whether one of the members is computed from the operation's results without a buffer in between."""
    stack = [operation]
    seen: set[Operation] = set()
    while stack:
        current = stack.pop()
        if not is_pulled(current) or current in seen:
            continue
        seen.add(current)
        if current.result in members:
            return True
        if current.result not in buffers.chosen:
            stack += current.result.users
    return False


def _rewrite(block: Block, operations: Sequence[Operation], groups: Sequence[Group], buffers: Buffers) -> None:
    builder = IRBuilder(block, block.terminator)
    replaced: dict[Value, Value] = {}
    reshaped: dict[Value, list[Value]] = {}
    for value, below in buffers.reshaped.items():
        reshaped.setdefault(below, []).append(value)

    def place(value: Value, result: Value) -> None:
        replaced[value] = result
        for other in reshaped.get(value, ()):
            view = Operation(tensor.reshape.operator(shape=tensor_type(other).shape), [result])
            builder.insert(view)
            replaced[other] = view.result

    for argument in block.arguments:
        place(argument, argument)
    for number, group in enumerate(groups):
        written = [value for value in group.values if value in buffers.chosen]
        kernel = _kernel(number, group, written, buffers, replaced)
        builder.insert(kernel)
        for value, result in zip(written, kernel.results, strict=True):
            shape = tensor_type(value).shape
            if tensor_type(result).shape != shape:
                view = Operation(tensor.reshape.operator(shape=shape), [result])
                view.location = kernel.location
                builder.insert(view)
                result = view.result
            place(value, result)
    block.terminator.operands = tuple([replaced.get(value, value) for value in block.terminator.operands])
    block.erase(operations)


def _kernel(
    number: int, group: Group, written: Sequence[Value], buffers: Buffers, replaced: dict[Value, Value]
) -> Operation:
    """The fused.kernel of a group: a region with a copy of every operation between its operands and its results."""
    own = set(group.values)
    body = Block()
    copies: dict[Value, Value] = {}
    operands: list[Value] = []
    stack = list(reversed(written))
    location = None
    while stack:
        value = stack[-1]
        if value in copies:
            stack.pop()
            continue
        made = value.defining_op()
        if made is None or (value in buffers.chosen and value not in own):
            operands.append(replaced.get(value, value))
            copies[value] = body.add_argument(value.type, value.name)
            stack.pop()
            continue
        waiting = [operand for operand in made.operands if operand not in copies]
        if waiting:
            stack += waiting
            continue
        copy = Operation(made.operator, [copies[x] for x in made.operands], [r.type for r in made.results])
        copy.location = location = made.location
        body.append(copy)
        copies.update(zip(made.results, copy.results, strict=True))
        stack.pop()
    yielded = [copies[value] for value in written]
    for position, value in enumerate(written):
        if group.schedule in ("map", "contract") and buffers.shape(value) != tensor_type(value).shape:
            view = Operation(tensor.reshape.operator(shape=buffers.shape(value)), [copies[value]])
            view.location = location or view.location
            body.append(view)
            yielded[position] = view.result
    body.append(Operation(fused.yield_.operator(), yielded, ()))
    operator = fused.kernel.operator(name=f"{group.schedule}{number}", schedule=group.schedule)
    kernel = Operation(operator, operands, [value.type for value in yielded], [Region([body])])
    if location is not None:
        kernel.location = location
    return kernel
