"""What the driver reports becomes an exception that names the user's line, and takes nothing down: with the real pycuda over
a driver that is told to fail (`--cuda driver`, level C)."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import lazytorch as torch
from lazytorch.config import config
from lazytorch.runtime.cuda.device import devices
from lazytorch.runtime.ptx_emulator import OutOfBoundsAccess
from tests.gpu import fake_driver


@pytest.fixture
def driver(cuda: None) -> Iterator[Any]:
    """The fake driver, well before and after."""
    if fake_driver.DRIVER is None:
        pytest.skip("level C: --cuda driver")
    assert torch.cuda.is_available()
    torch.cuda.synchronize()
    yield fake_driver.DRIVER
    fake_driver.DRIVER.heal()
    for device in devices():
        device.launched.clear()
        device.checks.clear()


def _line() -> str:
    """The line that calls this, as errors name it."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return f"test_driver_errors.py:{frame.f_back.f_lineno}"


def test_everything_goes_through_pycuda(driver: Any) -> None:
    before = driver.calls.copy()
    x = torch.arange(100.0).cuda()
    assert (x * 2).sum().item() == 9900
    called = driver.calls - before
    assert called["cuLaunchKernel"] >= 1 and called["cuMemcpyHtoDAsync"] >= 1 and called["cuMemcpyDtoHAsync"] == 1
    assert called["cuStreamSynchronize"] == 1 and not called["cuCtxSynchronize"]  # only the reading waits
    assert called["cuCtxPushCurrent"] == called["cuCtxPopCurrent"]


def test_out_of_memory_is_retried_without_the_cache_and_then_told(driver: Any) -> None:
    x = torch.ones(100, device="cuda").realize()
    driver.failures["cuMemAlloc"] = [fake_driver.OUT_OF_MEMORY]
    assert (torch.zeros(1 << 14, device="cuda") + x[0]).sum().item() == 1 << 14
    driver.failures["cuMemAlloc"] = [fake_driver.OUT_OF_MEMORY] * 20
    with pytest.raises(torch.OutOfMemoryError, match=r"CUDA out of memory\. Tried to allocate 1\.12 MiB") as error:
        y, line = torch.ones(280_000, device="cuda") + x[0], _line()
        y.realize()
    assert line in "".join(error.value.__notes__)
    driver.failures.clear()
    assert (x + 1).sum().item() == 200


def test_a_refused_launch_names_its_kernel_and_line(driver: Any) -> None:
    x = torch.ones(100, device="cuda").realize()
    driver.failures["cuLaunchKernel"] = [701]
    with pytest.raises(torch.AcceleratorError, match="CUDA error: too many resources requested for launch") as error:
        y, line = torch.expm1(x) * 3 + 1, _line()
        y.realize()
    assert line in str(error.value) + "".join(getattr(error.value, "__notes__", ""))


def test_a_kernel_that_fails_is_found_when_somebody_waits(driver: Any) -> None:
    x = torch.ones(100, device="cuda").realize()
    torch.cuda.synchronize()
    y, line = torch.log1p(x) * 5, _line()
    y.realize()  # nothing is known yet
    device = driver.devices[0]
    device.emulator.free(x._node.buffer.ptr)  # somebody else breaks it
    with pytest.raises(torch.AcceleratorError, match="CUDA error: an illegal memory access was encountered") as error:
        y.tolist()
    assert line in str(error.value) and "LAZYTORCH_CUDA_SYNC=1" in str(error.value)
    assert isinstance(device.fault, OutOfBoundsAccess)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):  # the context stays broken, as CUDA's
        (torch.ones(3, device="cuda") + 1).tolist()
    x._node.buffer.owner = "gone"  # its memory must not be used again
    devices()[0].driver._allocations.pop(x._node.buffer.ptr)


def test_waiting_for_every_kernel_names_the_one(driver: Any) -> None:
    x = torch.ones(100, device="cuda").realize()
    torch.cuda.synchronize()
    driver.failures["cuStreamSynchronize"] = [fake_driver.LAUNCH_FAILED]
    with config(cuda_sync=True), pytest.raises(torch.AcceleratorError, match="unspecified launch failure") as error:
        y, line = torch.erf(x) * 7, _line()
        y.realize()
    assert line in "".join(error.value.__notes__) and "launched since" not in str(error.value)


def test_a_module_that_the_driver_refuses_is_told(driver: Any) -> None:
    driver.failures["cuModuleLoadDataEx"] = [fake_driver.INVALID_PTX]
    with pytest.raises(torch.AcceleratorError, match=r"does not take kernel .*PTX JIT compilation failed"):
        (torch.ones(5, device="cuda").float() * 1.0625 - torch.rand(5).cuda()).tanh().realize()


def test_other_threads_use_the_device(driver: Any) -> None:
    found: list[Any] = []

    def work() -> None:
        x = torch.arange(50.0).cuda()
        found.append((x * x).sum().item())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [40425.0]


def test_repeated_programs_become_graphs(driver: Any) -> None:
    x = torch.rand(40, 40).cuda().realize()

    def step() -> Any:
        return ((torch.softmax(x @ x, 1).sum(0) @ x).tanh().cumsum(0)).tolist()

    want = step()
    before = driver.calls.copy()
    assert [step() for _ in range(6)] == [want] * 6
    called = driver.calls - before
    assert called["cuGraphLaunch"] >= 3 and called["cuStreamBeginCapture"] <= 2


END = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from tests.gpu.fake_driver import FakeDriver, LAUNCH_FAILED
driver = FakeDriver(Path({folder!r}) / "libcuda.so.1")
import lazytorch as torch
x = torch.ones(10, device="cuda") * 2
x.realize()
{then}
print("end")
"""


@pytest.mark.parametrize(
    "then", ["x.tolist()", "", "driver.devices[0].error = LAUNCH_FAILED", "e = torch.cuda.Event(); y = x.cpu().pin_memory()"]
)
def test_a_process_ends_well(driver: Any, then: str) -> None:
    """Also with work under way, and with a context that a kernel has broken."""
    from tests.device_option import pycuda_folder

    program = END.format(folder=str(pycuda_folder()), then=then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert "ERROR" not in done.stderr
