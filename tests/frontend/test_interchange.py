"""DLPack to and from NumPy, torch and jax on one memory, and `__cuda_array_interface__`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.config import config

VIEWS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: x.t(),
    "rows and columns": lambda x: x[1:, ::2],
    "a column": lambda x: x[:, 1],
    "expanded": lambda x: x[:, :1].expand(3, 5),
    "an element": lambda x: x[2, 1],
}
DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_sees_our_memory_and_we_see_torchs(dtype: str) -> None:
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    there = oracle.from_dlpack(x)
    assert (str(there.dtype), tuple(there.shape)) == (f"torch.{dtype}", (3, 4)) and there.tolist() == x.tolist()
    there[1, 2] = 1
    assert x[1, 2].item() == there[1, 2].item() == 1
    x[0] = 0  # at once, in place: the other one cannot ask
    assert there[0].tolist() == x[0].tolist()
    back = torch.from_dlpack(there)
    back[2, 3] = 1
    assert there[2, 3].item() == x[2, 3].item() == 1 and back.dtype is x.dtype


@pytest.mark.parametrize("view", VIEWS)
def test_strides_are_kept(view: str) -> None:
    mine = VIEWS[view](torch.arange(12.0).reshape(3, 4))
    there = oracle.from_dlpack(mine)
    assert there.stride() == mine.stride() and there.tolist() == mine.tolist()
    again = torch.from_dlpack(there)
    assert again.stride() == there.stride() and again.tolist() == there.tolist()
    if view != "expanded":
        again.add_(100)
        assert there.tolist() == again.tolist() == mine.tolist()


def test_numpy_and_jax_share_it() -> None:
    x = torch.arange(64.0)
    array = np.from_dlpack(x)
    array_address = array.__array_interface__["data"][0]
    assert array_address == x.data_ptr() and array.tolist() == x.tolist()
    y = torch.from_dlpack(np.arange(5.0))
    assert y.dtype is torch.float64 and (y + 1).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    there = jnp.from_dlpack(x)
    assert there.unsafe_buffer_pointer() == x.data_ptr()
    assert (there * 2).tolist() == (x * 2).tolist()
    assert torch.from_dlpack(jax.device_put(np.arange(3.0, dtype=np.float32))).tolist() == [0.0, 1.0, 2.0]


def test_memory_lives_as_long_as_somebody_uses_it() -> None:
    there = oracle.from_dlpack(torch.arange(1000.0) * 2)
    mine = torch.from_dlpack(oracle.arange(1000.0) * 3)
    unused = torch.ones(3).__dlpack__()
    del unused
    gc.collect()
    assert [torch.zeros(1000).sum().item() for _ in range(3)] == [0.0] * 3
    assert there.tolist() == [2.0 * i for i in range(1000)] and mine.tolist() == [3.0 * i for i in range(1000)]


def test_capsules_and_arguments_are_torchs() -> None:
    x = torch.ones(2)
    capsule = torch.utils.dlpack.to_dlpack(x)
    assert "dltensor" in repr(capsule) and x.__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 1)))
    assert torch.utils.dlpack.from_dlpack(capsule).tolist() == [1.0, 1.0]
    copied = torch.from_dlpack(x, copy=True)
    copied.add_(1)
    assert x.tolist() == [1.0, 1.0]


def _errors(t: Any) -> list[tuple[type, str]]:
    capsule = t.ones(2).__dlpack__()
    t.from_dlpack(capsule)
    calls = [
        lambda: t.ones(2, requires_grad=True).__dlpack__(),
        lambda: t.from_dlpack(capsule),
        lambda: t.ones(2).__dlpack__(stream=5),
        lambda: t.ones(2).__cuda_array_interface__,
    ]
    out = []
    for call in calls:
        with pytest.raises(Exception) as error:
            call()
        out.append((error.type, str(error.value)[:40]))
    return out


def test_errors_are_torchs() -> None:
    assert _errors(torch) == _errors(oracle)
    with pytest.raises(BufferError, match="negative strides"):
        torch.from_dlpack(np.arange(6)[::-1])
    with pytest.raises(BufferError, match="unsupported element type"):
        torch.from_dlpack(_Strange())


class _Strange:
    """An array of a type that there is no name for."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **_: Any) -> Any:
        return oracle.zeros(2, dtype=oracle.float8_e4m3fn).__dlpack__(max_version=(1, 1))


def test_devices_lend_their_memory_too() -> None:
    with config(cuda="emulator"):
        x = torch.arange(6.0, device="cuda").reshape(2, 3)
        assert x.__dlpack_device__() == (2, 0)
        y = torch.from_dlpack(x)
        assert y.is_cuda
        y.mul_(2)
        assert x.tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
        described = x.t().__cuda_array_interface__
        assert (described["shape"], described["strides"], described["typestr"]) == ((3, 2), (4, 12), "<f4")

        class Foreign:
            __cuda_array_interface__ = described

        z = torch.as_tensor(Foreign(), device="cuda")
        assert z.tolist() == x.t().tolist()
        z[0, 1] = -1.0
        assert x[1, 0].item() == -1.0
        assert hasattr(x, "__cuda_array_interface__") and not hasattr(x.cpu(), "__cuda_array_interface__")
