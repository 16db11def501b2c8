"""The order of kernels, against those of networkx on random graphs without cycles."""

from __future__ import annotations

import random

import networkx as nx
import pytest

from lazytorch.codegen.group import Group
from lazytorch.codegen.kernel_graph import KernelGraph
from lazytorch.codegen.structure import structure
from lazytorch.dtypes import float32
from lazytorch.ir.core import Block, IRBuilder, Value
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import TensorType


@pytest.mark.parametrize("seed", range(8))
def test_ways_and_order_are_those_that_networkx_finds(seed: int) -> None:
    pick = random.Random(seed)
    graph, oracle = KernelGraph(), nx.DiGraph()
    groups = [Group("map", ()) for _ in range(24)]
    for number, group in enumerate(groups):
        graph.add(group)
        oracle.add_node(number)
    for _ in range(60):
        first, second = pick.sample(range(len(groups)), 2)
        ways = graph.leads(groups[second], groups[first])
        assert ways == nx.has_path(oracle, second, first)
        if not ways:
            graph.connect(groups[first], groups[second])
            oracle.add_edge(first, second)
    removed = pick.randrange(len(groups))
    graph.remove(groups[removed])
    oracle.remove_node(removed)
    assert [groups.index(group) for group in graph.in_order(groups)] == list(nx.lexicographical_topological_sort(oracle))


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
