"""`pytest --cuda LEVEL --device cuda`: what a CUDA device is in the tests, and whether all tensors live there.

emulator  (A, the default) the PTX emulator behind the runtime's driver interface
driver    (C) the real pycuda over a driver that the PTX emulator answers (tools/build_pycuda.py, tests/gpu/fake_driver.py)
device    (D) an NVIDIA device

With `--device cuda` the same tests make their tensors there, and NumPy arrays are copied to and from it where tests ask for
them. Random numbers are the CPU generator's then, as the oracle's are.
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

LEVELS = {"emulator": "A", "driver": "C", "device": "D"}
SETTINGS = {"emulator": "emulator", "driver": "", "device": ""}
_PRINTED = "the printed text names the device"
_SHARED = "NumPy arrays are copies of what is on a device"
NOT_ON_A_DEVICE = {
    "test_printing.py::*": _PRINTED,
    "test_types_and_devices.py::*": "answers are compared as printed text, and are those of a torch without CUDA",
    "test_against_torch.py::test_the_printed_text_is_torchs*": _PRINTED,
    "test_distributions.py::test_densities_moments_and_entropies_are_torchs[[]Binomial-?]": _PRINTED,
    "test_distributions.py::test_densities_moments_and_entropies_are_torchs[[]*Pareto-0]": _PRINTED,
    "test_distributions.py::test_densities_moments_and_entropies_are_torchs[[]Uniform-0]": _PRINTED,
    "test_func.py::test_a_batched_tensor_is_printed_as_torch_prints_it": _PRINTED,
    "test_grad_fn.py::test_the_result_of_a_custom_function_prints_after_backward": _PRINTED,
    "test_sorting_and_scans.py::test_results_of_several_tensors_print_as_torchs": _PRINTED,
    "test_against_torch.py::test_what_was_computed_from_memory_that_numpy_shares_keeps_its_value*": _SHARED,
    "test_against_torch.py::test_numpy_shares_memory_in_both_directions": _SHARED,
    "test_random_programs.py::test_a_random_program_does_what_it_does_in_torch": _SHARED,
    "test_random_programs.py::test_a_program_that_went_wrong_once_goes_right[[]memory that is handed out*": _SHARED,
    "test_interchange.py::*": _SHARED,
    "test_examples.py::test_the_first_losses_are_torchs[[]policy_gradient]": "the script mixes in arrays",
}
"""Patterns of tests that are left out with `--device cuda`, and why."""


def add_options(parser: pytest.Parser) -> None:
    """`--cuda` and `--device`."""
    parser.addoption("--cuda", default="emulator", choices=sorted(LEVELS), help="what a CUDA device is in the tests")
    parser.addoption("--ptx", default="", help="a folder for the PTX of what runs on a device (tests/gpu/collection.py)")
    parser.addoption("--device", default="cpu", choices=["cpu", "cuda"], help="where tests make their tensors")


def configure(options: Any) -> None:
    """Settings, for this process and for those that tests start."""
    level, device = options.getoption("--cuda"), options.getoption("--device")
    if level == "driver":
        _install_fake_driver()
    if device != "cpu":
        os.environ["LAZYTORCH_CUDA"] = SETTINGS[level]
        os.environ["LAZYTORCH_DEVICE"] = device
        os.environ["LAZYTORCH_HOST_RANDOM"] = "1"
        from lazytorch.config import config  # may be there already, with other settings

        config.cuda, config.device, config.host_random = SETTINGS[level], device, True
        _convert_arrays()
    if options.getoption("--ptx"):
        from tests.gpu import collection

        collection.install(Path(options.getoption("--ptx")).absolute())


def select(options: Any, items: list[pytest.Item]) -> None:
    """Skip what does not apply."""
    needs_device = pytest.mark.skip(reason="needs an NVIDIA device: --cuda device")
    for item in items:
        if item.get_closest_marker("gpu") and options.getoption("--cuda") != "device":
            item.add_marker(needs_device)
        if options.getoption("--device") != "cpu":
            reason = next((why for name, why in NOT_ON_A_DEVICE.items() if fnmatch(item.nodeid, f"*/{name}")), None)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def summary(options: Any) -> str:
    """One line for the report: which level ran."""
    level, device = options.getoption("--cuda"), options.getoption("--device")
    return f"CUDA devices in these tests: level {LEVELS[level]} ({level}); tensors are made on: {device}"


def pycuda_folder() -> Path:
    """Where tools/build_pycuda.py has put pycuda."""
    from tools.build_pycuda import default_folder

    return Path(os.environ.get("PYCUDA_FOLDER") or default_folder())


def _install_fake_driver() -> None:
    folder = pycuda_folder()
    if not (folder / "complete").exists():
        raise pytest.UsageError(f"--cuda driver: there is no pycuda in {folder}; run python tools/build_pycuda.py")
    sys.path.insert(0, str(folder))
    from tests.gpu import fake_driver

    fake_driver.DRIVER = fake_driver.FakeDriver(folder / "libcuda.so.1")


def _convert_arrays() -> None:
    """Let NumPy see tensors of a device as copies, and copy arrays to it."""
    import lazytorch
    from lazytorch.config import config

    plain, adopt = lazytorch.Tensor.numpy, lazytorch.from_numpy

    def numpy(self: Any, *, force: bool = False) -> Any:
        return plain(self.cpu() if self.is_cuda and not self.requires_grad else self, force=force)

    def from_numpy(array: Any) -> Any:
        return adopt(array).to(config.device)

    lazytorch.Tensor.numpy = numpy
    lazytorch.from_numpy = from_numpy
