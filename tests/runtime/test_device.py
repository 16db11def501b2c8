"""`Device` behaves as `torch.device`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from lazytorch.runtime.device import Device

GOOD = [("cpu",), ("cuda",), ("cpu:0",), ("cuda:1",), ("cuda", 1), ("meta",), ("mps", 0)]
WRONG = [
    ("",),
    ("gpu",),
    ("cpu:x",),
    ("cpu:",),
    ("cuda:01",),
    ("cuda:-1",),
    ("cuda:0", 1),
    ("CPU",),
    (1.5,),
    (None,),
    ("cpu", -1),
]


def outcome(make: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return str(make(*arguments)), repr(make(*arguments))
    except (RuntimeError, TypeError) as error:
        return type(error)


@pytest.mark.parametrize("arguments", [*GOOD, *WRONG], ids=repr)
def test_names_are_read_as_torch_reads_them(arguments: tuple[object, ...]) -> None:
    assert outcome(Device, arguments) == outcome(torch.device, arguments)


def test_devices_are_values() -> None:
    assert Device("cuda", 1) == Device("cuda:1") == Device(Device("cuda:1"))
    assert Device("cpu") != Device("cpu:0")
    assert Device("cpu") != "cpu"
    assert len({Device("cpu"), Device("cpu"), Device("cuda")}) == 2
    for device in (Device("cpu"), Device("cuda:3")):
        assert pickle.loads(pickle.dumps(device)) == copy.deepcopy(device) == device
    with pytest.raises(AttributeError, match="not writable"):
        Device("cpu").type = "cuda"


def test_a_device_that_is_not_here_is_refused_when_used() -> None:
    Device("cpu").check_usable()
    Device("cpu:0").check_usable()
    with pytest.raises(AssertionError, match="not compiled with CUDA"):
        Device("cuda:0").check_usable()
    with pytest.raises(NotImplementedError, match="mps"):
        Device("mps").check_usable()
    with pytest.raises(RuntimeError, match="index"):
        Device("cpu:1").check_usable()
