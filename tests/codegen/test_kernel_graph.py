"""The order of kernels, against plain searches of random graphs without cycles."""

from __future__ import annotations

import random

import pytest

from lazytorch.codegen.group import Group
from lazytorch.codegen.kernel_graph import KernelGraph
from lazytorch.codegen.structure import structure
from lazytorch.dtypes import float32
from lazytorch.ir.core import Block, IRBuilder, Value
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import TensorType


def _reached(edges: set[tuple[int, int]], start: int) -> set[int]:
    found: set[int] = set()
    stack = [start]
    while stack:
        number = stack.pop()
        for first, second in edges:
            if first == number and second not in found:
                found.add(second)
                stack.append(second)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_ways_and_order_are_those_of_a_plain_search(seed: int) -> None:
    pick = random.Random(seed)
    graph = KernelGraph()
    groups = [Group("map", ()) for _ in range(24)]
    for group in groups:
        graph.add(group)
    edges: set[tuple[int, int]] = set()
    for _ in range(60):
        first, second = pick.sample(range(len(groups)), 2)
        ways = graph.leads(groups[second], groups[first])
        assert ways == (first in _reached(edges, second))
        if not ways:
            graph.connect(groups[first], groups[second])
            edges.add((first, second))
    removed = pick.randrange(len(groups))
    graph.remove(groups[removed])
    edges = {edge for edge in edges if removed not in edge}
    order = [groups.index(group) for group in graph.in_order(groups)]
    assert sorted(order) == [number for number in range(len(groups)) if number != removed]
    assert all(order.index(first) < order.index(second) for first, second in edges)
    for position, number in enumerate(order):  # of those that could be next, the first one
        ready = [x for x in order[position:] if not any(y in order[position:] for y, z in edges if z == x)]
        assert number == min(ready)


def _cluster(builder: IRBuilder, x: Value, y: Value) -> Value:
    product = builder.emit(arith.mul.operator(), [x, y])
    value: Value = builder.emit(arith.add.operator(), [product, x])
    return value


def test_clusters_that_differ_in_their_buffers_alone_have_one_structure() -> None:
    block = Block([TensorType(float32, (4, 4))] * 4)
    a, b, c, d = block.arguments
    builder = IRBuilder(block)
    first, second, twice = (_cluster(builder, *pair) for pair in ((a, b), (c, d), (d, d)))
    assert set(structure([first])[1]) == {a, b}
    assert structure([first])[0] == structure([second])[0]
    assert structure([first])[0] != structure([twice])[0]
    assert structure([second], second.owner.operands[:1])[0] != structure([second])[0]
