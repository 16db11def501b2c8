"""Whether two pieces of IR are the same, up to the names of values."""

from __future__ import annotations

from lazytorch.ir.core import Operation, Value


def equivalent(a: Operation, b: Operation, *, locations: bool = False) -> bool:
    """Same operators (attributes to the bit), operands, types and regions, in the same order; with `locations` the
    same lines too. Values from outside must be the same objects."""
    matched: dict[Value, Value] = {}
    pending = [(a, b)]
    while pending:
        x, y = pending.pop()
        if not _same_operation(x, y, matched) or (locations and x.location != y.location):
            return False
        matched.update(zip(x.results, y.results, strict=True))
        inner: list[tuple[Operation, Operation]] = []
        for left, right in zip(x.regions, y.regions, strict=True):
            if len(left.blocks) != len(right.blocks):
                return False
            for first, second in zip(left.blocks, right.blocks, strict=True):
                if [v.type for v in first.arguments] != [v.type for v in second.arguments]:
                    return False
                matched.update(zip(first.arguments, second.arguments, strict=True))
                operations, others = list(first), list(second)
                if len(operations) != len(others):
                    return False
                inner += zip(operations, others, strict=True)
        pending += reversed(inner)
    return True


def _same_operation(x: Operation, y: Operation, matched: dict[Value, Value]) -> bool:
    return (
        x.operator is y.operator
        and [v.type for v in x.results] == [v.type for v in y.results]
        and len(x.regions) == len(y.regions)
        and len(x.operands) == len(y.operands)
        and all(matched.get(v, v) is w for v, w in zip(x.operands, y.operands, strict=True))
    )
