"""torch.utils._pytree and what else libraries look for before they use torch, against torch."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import ModuleType

import numpy as np
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


def test_programs_find_a_new_enough_version() -> None:
    """Libraries refuse old versions of PyTorch by comparing numbers."""
    major, minor = lazytorch.__version__.split(".")[:2]
    assert (int(major), int(minor)) >= (2, 13)
    assert lazytorch.version.__version__ == lazytorch.__version__


def test_handles_and_script_modules_have_their_torch_names() -> None:
    handle = lazytorch.nn.Linear(1, 1).register_forward_hook(lambda *_: None)
    assert isinstance(handle, lazytorch.utils.hooks.RemovableHandle)
    assert not isinstance(lazytorch.jit.script(lazytorch.nn.Linear(1, 1)), lazytorch.jit.ScriptModule)


@pytest.mark.parametrize("t", [torch, lazytorch], ids=lambda t: t.__name__)
def test_attributes_are_found_in_registries_that_a_program_replaced(t: ModuleType) -> None:
    class Wrapper(t.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._parameters = OrderedDict(fast=t.ones(2))
            self.inner = t.nn.Linear(1, 3)

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

    wrapper = Wrapper()
    assert wrapper.fast.tolist() == [1, 1]
    assert wrapper.out_features == 3
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'missing'"):
        _ = wrapper.missing


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(3), np.int32(3)], ids=repr)
def test_numbers_of_numpy_are_numbers(number: np.generic) -> None:
    """Rewards of environments and constants of NumPy's functions are such numbers."""
    answers = []
    for t in (torch, lazytorch):
        x, i = t.tensor([1.0, 2.0]), t.tensor([1, 2])
        made = [x * number, number * x, 1 - x / number, i * number, x.clamp(number), x.fill_(number)]
        answers.append([(str(y.dtype), y.tolist()) for y in made])
    assert answers[0] == answers[1]
