"""From the recorded trace to a function of full operations; done once per program, when no compiled one fits."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch.ir.core import Operation, Value, new_func, return_
from lazytorch.ir.location import UNKNOWN, Location, from_frame_place
from lazytorch.ir.trace import Place, Trace, operand_numbers, result
from lazytorch.ir.types import TupleType


def capture(
    trace: Trace,
    outputs: Sequence[int],
    numbers: dict[Value, int] | None = None,
) -> Operation:
    """The function whose arguments are the trace's leaves and whose results are the numbered values.

    `outputs` holds node numbers (from 0) and leaf numbers (from -1 downwards). Recorded operations that no output needs
    are left out: dead results are never computed. `numbers`, if given, receives the node number of every value.
    """
    nodes, operand_rows = trace.nodes, operand_numbers(trace)
    func = new_func("program", [leaf.type for leaf in trace.leaves], [f"arg{i}" for i in range(len(trace.leaves))])
    block = func.region.block
    values: list[Value | Operation | None] = [None] * len(nodes)
    locations: dict[tuple[Place | None, bool], Location] = {}
    for number in needed(operand_rows, outputs):
        node = nodes[number]
        assert node.signature is not None
        operands = [_read(values, block.arguments, operand) for operand in operand_rows[number]]
        if node.signature.operator.declaration is result:
            operation = operands[0]
            assert isinstance(operation, Operation)
            values[number] = operation.results[node.attributes.index]
            if numbers is not None:
                numbers[operation.results[node.attributes.index]] = number
            continue
        place = node.place
        location = locations.get((place, False))
        if location is None:
            location = from_frame_place(place) if place is not None else UNKNOWN
            locations[place, False] = location
        types = node.type.types if isinstance(node.type, TupleType) else (node.type,)
        operation = Operation(node.signature.operator, [_as_value(x) for x in operands], types, (), location)
        block.append(operation)
        values[number] = operation if isinstance(node.type, TupleType) else operation.results[0]
        if numbers is not None and not isinstance(node.type, TupleType):
            numbers[operation.results[0]] = number
    returned = [_as_value(_read(values, block.arguments, number)) for number in outputs]
    block.append(Operation(return_.operator(), returned, ()))
    return func


def needed(operand_rows: Sequence[Sequence[int]], outputs: Sequence[int]) -> list[int]:
    """The numbers of the nodes that the outputs depend on, in recorded order."""
    marked = bytearray(len(operand_rows))
    for number in outputs:
        if number >= 0:
            marked[number] = 1
    for number in range(len(operand_rows) - 1, -1, -1):
        if marked[number]:
            for operand in operand_rows[number]:
                if operand >= 0:
                    marked[operand] = 1
    return [number for number, needed in enumerate(marked) if needed]


def _read(values: Sequence[Value | Operation | None], arguments: Sequence[Value], number: int) -> Value | Operation:
    value = arguments[~number] if number < 0 else values[number]
    assert value is not None
    return value


def _as_value(value: Value | Operation) -> Value:
    assert isinstance(value, Value)
    return value
