"""torch.utils._pytree and what else libraries import from torch.utils, against torch."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch.utils import _pytree as theirs

import lazytorch
from lazytorch.utils import _pytree, checkpoint, model_zoo

Point = namedtuple("Point", "x y")
TREES = [
    3,
    None,
    [],
    (1, [2, {"b": 3, "a": (4, None)}]),
    Point(1, [2, 3]),
    OrderedDict([("z", 1), ("a", [2])]),
    {"k": Point((), {})},
]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_trees_are_taken_apart_and_built_again(tree: object) -> None:
    leaves, spec = _pytree.tree_flatten(tree)
    assert leaves == theirs.tree_flatten(tree)[0]
    assert spec.num_leaves == len(leaves)
    rebuilt = _pytree.tree_unflatten(leaves, spec)
    assert rebuilt == tree
    assert type(rebuilt) is type(tree)
    assert _pytree.tree_map(lambda x: (x,), tree) == theirs.tree_map(lambda x: (x,), tree)
    assert _pytree.tree_map_only(int, lambda x: -x, tree) == theirs.tree_map_only(int, lambda x: -x, tree)


def test_wrong_numbers_of_leaves_are_refused() -> None:
    for module in (_pytree, theirs):
        spec = module.tree_flatten([1, 2])[1]
        with pytest.raises(ValueError, match="has length 3 but the spec refers to a pytree"):
            module.tree_unflatten([1, 2, 3], spec)
    assert _pytree.tree_flatten([1, (2, 3)], is_leaf=lambda x: isinstance(x, tuple))[0] == [1, (2, 3)]


def test_numbers_of_classes_may_be_tensors() -> None:
    count = [t.nn.functional.one_hot(t.tensor([0, 2]), t.tensor(4)).tolist() for t in (torch, lazytorch)]
    assert count[0] == count[1]


def test_there_are_no_other_devices_and_no_downloads() -> None:
    assert checkpoint.get_device_states(lazytorch.ones(2)) == torch.utils.checkpoint.get_device_states(torch.ones(2))
    with pytest.raises(NotImplementedError, match="fetch http://x/y"):
        model_zoo.load_url("http://x/y")
