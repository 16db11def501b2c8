"""Which values get a buffer of their own; what else a kernel computes, it computes where it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lazytorch.codegen.expression import NotStrided, pull, tensor_type
from lazytorch.codegen.schedules.attention import read_rows, row_leaf
from lazytorch.codegen.schedules.reduction import Reduction
from lazytorch.codegen.schedules.scan import STEP
from lazytorch.codegen.structure import remember, structure
from lazytorch.codegen.views import common_refinement
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Declaration, Trait
from lazytorch.ir.dialects import arith, tensor, tensor_scatter, tensor_sort

LONGEST = 96
"""Elementwise operations after which a chain gets a buffer."""

CHEAP = 6
"""Elementwise operations up to which a value is computed again for every repetition by a broadcast."""
SHARED = 8
"""Elementwise operations up to which several kernels compute a value each for itself."""
COSTLY = 8
"""Elementwise operations that a function such as exp counts as, where to keep its value is cheap."""
KEPT_BYTES = 1 << 18
"""Bytes up to which to keep a value is cheap: it does not leave the second level of caches."""
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
"""Operations whose operands must lie in buffers as they are (a concat sees them through views), and the schedule of each."""


def is_pulled(operation: Operation) -> bool:
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


class Buffers:
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
            if is_pulled(operation):
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
            self._choose_sums(operations)
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
        costly = 0
        for number, operation in enumerate(operations):
            if not is_pulled(operation) or operation.result in self.chosen:
                continue
            computed = 0
            for operand in operation.operands:
                if operand not in self.chosen:
                    computed |= below.get(operand, 0)
            if operation.has(Trait.ELEMENTWISE):
                computed |= 1 << number
                costly |= operation.name.startswith("math.") << number
                cost = computed.bit_count()
                if tensor_type(operation.result).nbytes <= KEPT_BYTES:
                    cost += (COSTLY - 1) * (computed & costly).bit_count()
                if operation.result in divided and cost > SHARED:
                    self.chosen.add(operation.result)
            below[operation.result] = computed

    def _choose_sums(self, operations: Sequence[Operation]) -> None:
        """Give buffers to the parts of sums of contractions, so that each contraction adds what is there so far to its own
        tiles: else all their results would wait in memory for the kernel that adds them."""
        holds: set[Value] = set()  # values without a buffer that are computed from the result of a contraction
        for operation in operations:
            if not operation.has(Trait.ELEMENTWISE) or not is_pulled(operation) or operation.result in self.chosen:
                holds.update(operation.results if operation.has(Trait.CONTRACTION) else ())
                continue
            shape = tensor_type(operation.result).shape
            parts = [x for x in operation.operands if x in holds and tensor_type(x).shape == shape]
            ready = [x for x in parts if x in self.chosen and len(x.users) == 1]
            if operation.declaration is arith.add and ready:
                self.chosen.update(x for x in parts if x not in self.chosen)
            if parts:
                holds.add(operation.result)

    def _read_by_several_kernels(self, operations: Sequence[Operation]) -> set[Value]:
        """Values whose readers belong to different kernels, as far as shape and depth in buffers tell."""
        depth: dict[Value, int] = {}
        for operation in operations:
            level = max((depth.get(x, 0) + (x in self.chosen) for x in operation.operands), default=0)
            depth.update((result, level) for result in operation.results)
        divided: set[Value] = set()
        kernel: dict[Value, tuple[tuple[int, ...], int]] = {}
        for operation in reversed(operations):
            if not is_pulled(operation):
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
        if operation.declaration is tensor.concat and not on_host(operation):
            self._require([_below_views(operand) for operand in operation.operands])
        elif operation.declaration in WHOLE or on_host(operation):
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
                made is not None and not is_pulled(made) and not made.has(Trait.CONTRACTION)
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
        if takes_epilogue(operation) or operation.declaration is tensor.concat:
            return [[operand] for operand in operation.operands if operand not in self.chosen]
        if operation.has(Trait.TILED):
            return [[operand] for operand in read_rows(operation) if operand not in self.chosen]
        return [[operation.result]] if is_pulled(operation) and operation.result in self.chosen else []

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
        if not self.enabled or not is_pulled(operation) or problem.value in self.chosen:
            return False
        value, before = operation.result, tensor_type(problem.value).shape
        shape = self.refined.get(value, tensor_type(value).shape)
        refinement = common_refinement(before, shape) if problem.shape == shape else None
        if refinement is None or refinement == shape:
            return False
        for read in reads_of(operation, self):
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
                if not is_pulled(user) or (user.result in self.chosen and user.result is not value):
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


def takes_epilogue(operation: Operation) -> bool:
    """Whether the operation's kernel computes what is read at the same index, from operands and results, as well."""
    return operation.has(Trait.CONTRACTION) or operation.declaration in STEP


def reads_of(operation: Operation, buffers: Buffers) -> list[Value]:
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
