"""Devices as torch shows them, with the emulator and without any."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lazytorch as torch
from lazytorch.config import config


@pytest.mark.usefixtures("cuda")
def test_tensors_are_made_and_moved() -> None:
    x = torch.ones(2, 3, device="cuda")
    assert (x.device, x.is_cuda, x.get_device()) == (torch.device("cuda", 0), True, 0)
    for made in (torch.zeros_like(x), x.new_tensor([1.0]), torch.rand(3, device="cuda"), torch.arange(3, device=x.device)):
        assert made.device == x.device
    assert x.cpu().device == x.to("cpu").device == torch.device("cpu")
    assert x.t().cpu().stride() == torch.zeros_like(x.t()).stride() == torch.ones(2, 3).t().cuda().stride() == (1, 3)
    assert x.to("cuda") is x and x.to(torch.float64).is_cuda and torch.ones(1).to(x).is_cuda
    assert repr(x + 1) == "tensor([[2., 2., 2.],\n        [2., 2., 2.]], device='cuda:0')"
    assert x.sum().item() == 6.0 and x.tolist() == [[1.0] * 3] * 2
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        x.numpy()
    assert torch.zeros(2).copy_(x[0, :2]).tolist() == [1.0, 1.0]
    with torch.device("cuda"):
        assert torch.zeros(1).is_cuda


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("columns", [4, 5])  # rows that begin at multiples of 16 bytes, or do not
def test_a_slice_of_memory_is_memory_of_the_device(columns: int) -> None:
    x = torch.arange(30.0)[: 6 * columns].reshape(6, columns).cuda().realize()
    part = x[1:5]
    torch.ones(2).cuda().realize()  # the slice is not recorded any more
    wanted = torch.arange(30.0)[columns : 5 * columns].reshape(4, columns)
    assert torch.equal(part.cpu(), wanted)
    torch.ones(2).cuda().realize()
    assert torch.equal((part + 1).cpu(), wanted + 1)


@pytest.mark.usefixtures("cuda")
def test_modules_are_moved() -> None:
    model = torch.nn.BatchNorm1d(3).cuda()
    assert all(x.is_cuda for x in (*model.parameters(), *model.buffers()))
    assert all(not x.is_cuda for x in model.cpu().parameters())


@pytest.mark.usefixtures("cuda")
def test_the_cuda_namespace_tells_of_the_device() -> None:
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1 and torch.cuda.current_device() == 0
    assert torch.cuda.get_device_capability() >= (7, 5) and torch.cuda.get_device_name(0)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    x = torch.ones(1000, device="cuda")
    torch.cuda.synchronize()
    assert before + 4000 <= torch.cuda.memory_allocated() <= before + 4608  # as the allocator rounds
    del x
    assert torch.cuda.memory_allocated() == before
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    end.record()
    torch.cuda.synchronize()
    assert start.elapsed_time(end) >= 0
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:1")


def test_without_a_device_the_error_says_what_to_do() -> None:
    with config(cuda="off"):
        assert not torch.cuda.is_available()
        with pytest.raises(AssertionError, match=r"Torch not compiled with CUDA enabled.*LAZYTORCH_CUDA=off"):
            torch.ones(1).cuda()
    with config(cuda="emulater"), pytest.raises(ValueError, match="expected emulator"):
        torch.ones(1, device="cuda")


def test_nothing_of_a_gpu_is_loaded_for_the_cpu() -> None:
    program = (
        "import sys, lazytorch as t; (t.rand(3) + 1).realize();"
        "print([m for m in sys.modules if 'cuda' in m or 'emulator' in m])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.usefixtures("cuda")
def test_mixed_precision_works_on_the_device() -> None:
    x, w = torch.randn(4, 8, device="cuda"), torch.randn(3, 8, device="cuda", requires_grad=True)
    with torch.autocast("cuda"):
        assert torch.is_autocast_enabled() and torch.get_autocast_dtype("cuda") is torch.float16
        y = torch.nn.functional.linear(x, w)
        assert y.dtype is torch.float16 and (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
        with torch.autocast("cuda", dtype=torch.bfloat16), torch.autocast("cpu"):
            assert (x @ w.t()).dtype is (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
        loss = torch.nn.functional.mse_loss(y, torch.zeros(4, 3, device="cuda"))
        assert torch.nn.functional.softmax(y, 1).dtype is loss.dtype is torch.float32
    assert not torch.is_autocast_enabled()
    scaler = torch.amp.GradScaler("cuda", init_scale=8.0)
    optimizer = torch.optim.SGD([w], lr=0.1)
    before = w.tolist()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.is_enabled() and scaler.get_scale() == 8.0 and w.tolist() != before
    w.grad.fill_(float("inf"))
    now = w.tolist()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0 and w.tolist() == now


def test_several_devices() -> None:
    with config(cuda="emulator:sm_80:2"):
        assert torch.cuda.device_count() == 2
        x = torch.arange(6.0, device="cuda:1")
        with torch.cuda.device(1):
            y = torch.ones(6, device="cuda") * 2
            assert torch.cuda.current_device() == 1
        assert x.device == y.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
        z = (x * y).to("cuda:0") + torch.ones(6, device="cuda")
        assert z.device == torch.device("cuda:0") and z.tolist() == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            x + z
        torch.cuda.manual_seed_all(3)
        assert torch.rand(3, device="cuda:0").tolist() == torch.rand(3, device="cuda:1").tolist()
        torch.cuda.synchronize(1)
        with torch.cuda.stream(torch.cuda.Stream(1)):
            w = x + 1
        assert (w.to("cuda:0") + z).tolist() == [2.0, 5.0, 8.0, 11.0, 14.0, 17.0]
