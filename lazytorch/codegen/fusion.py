"""Fusion: from a function of tensor operations to one of `fused.kernel`s.

Elementwise operations and views are pulled into whatever reads them; a value gets a buffer of its own only where it must
(a result, an operand that a kernel reads whole, a reshape that strides cannot express, a very long chain). Buffers of one
shape that can be computed together become one kernel, and a contraction takes the elementwise kernel after it as epilogue.
Without fusion every elementwise operation gets a buffer and a kernel of its own; the bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lazytorch.codegen.expression import NotStrided, pull, tensor_type
from lazytorch.codegen.group import Group
from lazytorch.codegen.kernel_graph import KernelGraph
from lazytorch.codegen.row_fusion import RowFusion
from lazytorch.codegen.schedules.attention import read_rows, row_leaf, together
from lazytorch.codegen.schedules.contract import joined
from lazytorch.codegen.schedules.reduction import Reduction
from lazytorch.codegen.schedules.scan import STEP
from lazytorch.codegen.structure import remember, structure
from lazytorch.codegen.views import common_refinement
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, IRBuilder, Operation, Region, Value
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.dialects import arith, fused, tensor, tensor_scatter, tensor_sort

LONGEST = 96
"""Elementwise operations after which a chain gets a buffer."""

CHEAP = 6
"""Elementwise operations up to which a value is computed again for every repetition by a broadcast."""
SHARED = 8
"""Elementwise operations up to which several kernels compute a value each for itself."""
HOISTED = 16
"""Elements of a row from which on what is constant along it is computed once, outside of the inner loop."""

WHOLE: dict[Declaration, str] = {
    tensor.gather: "gather",
    tensor.scatter_add: "scatter",
    tensor.scatter: "scatter",
    tensor_scatter.scatter_mul: "scatter",
    tensor_scatter.scatter_max: "scatter",
    tensor_scatter.scatter_min: "scatter",
    tensor.pad: "pad",
    tensor.insert_slice: "insert",
    tensor.concat: "concat",
    tensor_sort.argsort: "sort",
    tensor_sort.searchsorted: "search",
}
"""Operations whose operands must lie in buffers as they are, and the schedule of each."""


def fuse(func: Operation, enabled: bool = True) -> None:
    """Rewrite the function in place: afterwards it holds fused.kernel operations, reshapes of buffers and the return."""
    block = func.region.block
    operations = [operation for operation in block if operation is not block.terminator]
    buffers = _Buffers(block, operations, enabled)
    kept = {*block.terminator.operands, *buffers.reshaped.values()}
    groups = _grouped(operations, buffers, kept, enabled)
    _rewrite(block, operations, groups, buffers)


def _pulled(operation: Operation) -> bool:
    """Whether readers may compute the operation themselves."""
    declaration = operation.operator.declaration
    traits = declaration.traits
    if Trait.ELEMENTWISE in traits or Trait.VIEW in traits or declaration is arith.constant or declaration is tensor.iota:
        return not on_host(operation)
    return False


def on_host(operation: Operation) -> bool:
    """Whether the operation is a step of the host: declared so, or of complex numbers, which kernels do not know."""
    return operation.has(Trait.HOST) or "c" in [x.type.dtype.kind for x in (*operation.operands, *operation.results)]


def _repeated(operation: Operation, operand: Value) -> bool:
    """Whether the operation broadcasts an operand in such a way that a kernel would compute each element several times."""
    shape, wanted = tensor_type(operand).shape, tensor_type(operation.result).shape
    if operation.has(Trait.VIEW) and operation.declaration is not tensor.expand:
        return False
    if math.prod(shape) == math.prod(wanted):
        return False
    return not (wanted[-1] >= HOISTED and (not shape or shape[-1] == 1))


_strided: dict[Any, bool] = {}
"""Clusters, by structure, that can be computed from strided buffers."""


class _Buffers:
    """Which values get a buffer: `chosen`.

    refined: the shapes in which kernels compute values whose dimensions have to be split for that, because they read a
    buffer through a reshape that joins dimensions: the elements are the same, in the same order.
    reshaped: buffers that are others in another shape.
    """

    def __init__(self, block: Block, operations: Sequence[Operation], enabled: bool) -> None:
        self.arguments = set(block.arguments)
        self.chosen: set[Value] = set()
        self.refined: dict[Value, tuple[int, ...]] = {}
        self.reshaped: dict[Value, Value] = {}
        self.enabled = enabled
        self._require(block.terminator.operands)
        size: dict[Value, int] = {}
        for operation in operations:
            if _pulled(operation):
                if enabled:
                    self.chosen.update(x for x in operation.operands if size.get(x, 0) > CHEAP and _repeated(operation, x))
                total = int(operation.has(Trait.ELEMENTWISE))
                total += max([0, *[size.get(x, 0) for x in operation.operands if x not in self.chosen]])
                total += sum(size.get(x, 0) > 8 for x in operation.operands)
                if operation.has(Trait.ELEMENTWISE) and (not enabled or total > LONGEST):
                    self.chosen.add(operation.result)
                    total = 0
                size[operation.result] = total
                continue
            self.chosen.update(operation.results)
            self._require_operands(operation)
        if enabled:
            self._choose_shared(operations)
        for operation in operations:
            self._make_strided(operation)
        self._find_reshaped(operations, set(block.terminator.operands))

    def _choose_shared(self, operations: Sequence[Operation]) -> None:
        """Give a buffer to what many operations compute and several kernels read.

        Without this the cell state of a recurrent network, whose every step reads the one before, would be computed from
        the first step on in the kernel of every step.
        """
        divided = self._read_by_several_kernels(operations)
        below: dict[Value, int] = {}
        for number, operation in enumerate(operations):
            if not _pulled(operation) or operation.result in self.chosen:
                continue
            computed = 0
            for operand in operation.operands:
                if operand not in self.chosen:
                    computed |= below.get(operand, 0)
            if operation.has(Trait.ELEMENTWISE):
                computed |= 1 << number
                if operation.result in divided and computed.bit_count() > SHARED:
                    self.chosen.add(operation.result)
            below[operation.result] = computed

    def _read_by_several_kernels(self, operations: Sequence[Operation]) -> set[Value]:
        """Values whose readers belong to different kernels, as far as shape and depth in buffers tell."""
        depth: dict[Value, int] = {}
        for operation in operations:
            level = max((depth.get(x, 0) + (x in self.chosen) for x in operation.operands), default=0)
            depth.update((result, level) for result in operation.results)
        divided: set[Value] = set()
        kernel: dict[Value, tuple[tuple[int, ...], int]] = {}
        for operation in reversed(operations):
            if not _pulled(operation):
                continue
            value = operation.result
            if value in self.chosen:
                kernel[value] = tensor_type(value).shape, depth[value]
                continue
            found = {self._kernel_of(user, kernel, depth) for user in value.users if user.results}
            if len(found) > 1:
                divided.add(value)
            if found:
                kernel[value] = max(found)
        return divided

    def _kernel_of(
        self, user: Operation, kernel: dict[Value, tuple[tuple[int, ...], int]], depth: dict[Value, int]
    ) -> tuple[tuple[int, ...], int]:
        """What tells the kernel of a user from others: that of the buffer it goes into, or its own."""
        result = user.results[0]
        return kernel[result] if result in kernel else (tensor_type(user.operands[0]).shape, depth[result])

    def _require(self, values: Iterable[Value]) -> None:
        self.chosen.update(value for value in values if value not in self.arguments)

    def _require_operands(self, operation: Operation) -> None:
        if operation.declaration in WHOLE or on_host(operation):
            self._require(operation.operands)
        elif operation.has(Trait.CONTRACTION):
            for operand in operation.operands:
                self._require([_below_views(operand)])
        elif operation.has(Trait.TILED):
            rows = set(read_rows(operation))
            self._require([_below_views(x) if x in rows else x for x in operation.operands])

    def _find_reshaped(self, operations: Sequence[Operation], returned: set[Value]) -> None:
        """Buffers that are other ones in another shape: no kernel makes them. Of what is returned each has its own memory.
        A contraction makes any shape of its result itself."""
        owned = returned | self.arguments
        for operation in operations:
            if operation.declaration is not tensor.reshape or operation.result not in self.chosen:
                continue
            value, below = operation.result, operation.operands[0]
            while (inner := below.defining_op(tensor.reshape)) is not None:
                below = inner.operands[0]
            made = below.defining_op()
            is_memory = below in self.arguments or (
                made is not None and not _pulled(made) and not made.has(Trait.CONTRACTION)
            )
            if is_memory and (value not in returned or below not in owned):
                self.reshaped[value] = below
                self._require([below])
                if value in returned:
                    owned.add(below)

    def _make_strided(self, operation: Operation) -> None:
        """Give a buffer to whatever keeps the operation's operands from being read through strides."""
        if on_host(operation):
            return
        while True:
            try:
                for values in self._read_together(operation):
                    self._probe(operation, values)
                return
            except NotStrided as problem:
                if self._refine(operation, problem):
                    continue
                if problem.value in self.chosen:
                    raise CompileError(f"{operation.name} cannot read its operand through strides", stage="fusion") from None
                self.chosen.add(problem.value)
                made = problem.value.defining_op()
                if made is not None:
                    self._make_strided(made)

    def _read_together(self, operation: Operation) -> list[list[Value]]:
        """What has to be read through strides for the operation, each group of values by one kernel."""
        if operation.has(Trait.REDUCTION):
            return [list(operation.operands)] if 0 not in tensor_type(operation.operands[0]).shape else []
        if _takes_epilogue(operation):
            return [[operand] for operand in operation.operands if operand not in self.chosen]
        if operation.has(Trait.TILED):
            return [[operand] for operand in read_rows(operation) if operand not in self.chosen]
        return [[operation.result]] if _pulled(operation) and operation.result in self.chosen else []

    def _probe(self, operation: Operation, values: Sequence[Value]) -> None:
        """Raises NotStrided where the operation cannot read the values. What is like something found well is not tried."""
        is_reduction, is_tiled = operation.has(Trait.REDUCTION), operation.has(Trait.TILED)
        computed = set() if is_reduction or is_tiled else self.chosen.intersection(values)
        self.chosen -= computed
        words, _ = structure(values, self.chosen)
        self.chosen |= computed
        key = (operation.operator if is_reduction else is_tiled, self.shape(values[0]), *words)
        if key in _strided:
            return
        if is_reduction:
            Reduction(operation, self.chosen)
        elif is_tiled:
            row_leaf(values[0], tensor_type(values[0]).shape, self.chosen)
        else:
            self.expression(values)
        remember(_strided, key, True)

    def _refine(self, operation: Operation, problem: NotStrided) -> bool:
        """Have an elementwise result computed in a shape that splits its dimensions, if that spares the buffer that
        `problem` asks for. A contraction's epilogue keeps the contraction's shape."""
        if not self.enabled or not _pulled(operation) or problem.value in self.chosen:
            return False
        value, before = operation.result, tensor_type(problem.value).shape
        shape = self.refined.get(value, tensor_type(value).shape)
        refinement = common_refinement(before, shape) if problem.shape == shape else None
        if refinement is None or refinement == shape:
            return False
        for read in _reads(operation, self):
            made = read.defining_op()
            if (
                made is not None
                and made.has(Trait.CONTRACTION)
                and tensor_type(read).shape == tensor_type(value).shape
                and self._is_read_only_for(read, value)
            ):
                return False
        self.refined[value] = refinement
        return True

    def _is_read_only_for(self, read: Value, value: Value) -> bool:
        """Whether everything computed from a buffer goes into `value`."""
        stack, seen = [read], set()
        while stack:
            for user in stack.pop().users:
                if not _pulled(user) or (user.result in self.chosen and user.result is not value):
                    return False
                if user not in seen and user.result is not value:
                    seen.add(user)
                    stack.append(user.result)
        return True

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape in which a kernel computes the value."""
        return self.refined.get(value, tensor_type(value).shape)

    def fit_together(self, values: Sequence[Value]) -> bool:
        """Whether one kernel can compute these values of one shape."""
        try:
            self.expression(values)
        except NotStrided:
            return False
        return True

    def expression(self, values: Sequence[Value]) -> None:
        """Pull values as a kernel would; raises NotStrided."""
        computed = self.chosen.intersection(values)
        self.chosen -= computed
        shape = self.shape(values[0])
        views = [
            Operation(tensor.reshape.operator(shape=shape), [value]) for value in values if tensor_type(value).shape != shape
        ]
        wanted = [value for value in values if tensor_type(value).shape == shape] + [view.result for view in views]
        try:
            pull(wanted, shape, boundary=self.chosen)
        finally:
            self.chosen |= computed
            for view in views:
                view.operands = ()


def _below_views(value: Value) -> Value:
    """The value that a chain of views looks at."""
    operation = value.defining_op()
    while operation is not None and operation.has(Trait.VIEW):
        value = operation.operands[0]
        operation = value.defining_op()
    return value


def _grouped(operations: Sequence[Operation], buffers: _Buffers, kept: set[Value], enabled: bool) -> list[Group]:
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
            read_values = _reads(operation, buffers)
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
            group.values += operation.results if not _pulled(operation) else [value]
            for result in operation.results:
                group_of[result] = group
            for read_group in reads:
                if read_group is not group:
                    graph.connect(read_group, group)
    if enabled:
        _attach_epilogues(operations, buffers, group_of, graph, kept)
        RowFusion(graph, group_of, readers, buffers.chosen, kept).run(operations)
    return graph.in_order(groups)


def _takes_epilogue(operation: Operation) -> bool:
    """Whether the operation's kernel computes what is read at the same index, from operands and results, as well."""
    return operation.has(Trait.CONTRACTION) or operation.declaration in STEP


def _schedule_name(operation: Operation) -> str:
    if _pulled(operation):
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


def _reads(operation: Operation, buffers: _Buffers) -> list[Value]:
    """The buffers that a kernel for this operation reads."""
    found: dict[Value, None] = {}
    stack = list(operation.operands)
    seen: set[Value] = set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in buffers.chosen or value in buffers.arguments:
            found[value] = None
            continue
        made = value.defining_op()
        if made is not None:
            stack += made.operands
    return list(found)


def _reads_through_views(operation: Operation, buffers: _Buffers, members: Sequence[Value]) -> bool:
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
    operation: Operation, groups: Sequence[Group], reads: Sequence[Group], graph: KernelGraph, buffers: _Buffers
) -> Group | None:
    """A map kernel of the same shape that can also write this value: no path may lead from it back to itself."""
    if not _pulled(operation):
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
    buffers: _Buffers,
    group_of: dict[Value, Group],
    graph: KernelGraph,
    kept: set[Value],
) -> None:
    """A contraction or scan whose only reader is one map kernel at the same index becomes part of it; a contraction also
    through a reshape that joins dimensions (the groups and channels of a convolution)."""
    for operation in operations:
        if not _takes_epilogue(operation):
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


def _only_at_same_index(value: Value, buffers: _Buffers, members: set[Value]) -> bool:
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


def _leads_to(operation: Operation, members: set[Value], buffers: _Buffers) -> bool:
    """Whether one of the members is computed from the operation's results without a buffer in between."""
    stack = [operation]
    seen: set[Operation] = set()
    while stack:
        current = stack.pop()
        if not _pulled(current) or current in seen:
            continue
        seen.add(current)
        if current.result in members:
            return True
        if current.result not in buffers.chosen:
            stack += current.result.users
    return False


def _rewrite(block: Block, operations: Sequence[Operation], groups: Sequence[Group], buffers: _Buffers) -> None:
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
    number: int, group: Group, written: Sequence[Value], buffers: _Buffers, replaced: dict[Value, Value]
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
