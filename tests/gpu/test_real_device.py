"""What only an NVIDIA device can show (`--cuda device`, level D): asynchrony, faults, and torch's own CUDA numbers.

The other tests of this folder run there, too. `python -m benchmarks gpu` runs them all and measures.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import lazytorch as torch

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]


@pytest.fixture
def oracle() -> Any:
    """PyTorch with CUDA."""
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("PyTorch has no CUDA device here")
    return found


def test_the_host_does_not_wait() -> None:
    x = torch.rand(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    for _ in range(20):
        x = (x @ x).softmax(1)
    x.realize()
    stream = torch.cuda.current_stream()
    assert not stream.query()
    torch.cuda.synchronize()
    assert stream.query()


@pytest.mark.parametrize("size", [63, 512, 1000, 2048])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_large_products_are_right(size: int, dtype: str) -> None:
    torch.manual_seed(0)
    x, y = (torch.randn(size, size, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
    want = x.cpu().double().numpy() @ y.cpu().double().numpy()
    tolerance = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 1e-2}[dtype] * size**0.5
    np.testing.assert_allclose((x @ y).cpu().double().numpy(), want, rtol=2 * tolerance / size**0.5, atol=tolerance)


DRAWS = {
    "rand": lambda t: t.rand(100_000, device="cuda"),
    "rand of doubles": lambda t: t.rand(5000, dtype=t.float64, device="cuda"),
    "rand of halves": lambda t: t.rand(5000, dtype=t.float16, device="cuda").float(),
    "many": lambda t: t.rand(3_000_000, device="cuda"),
    "integers": lambda t: t.randint(0, 1000, (5000,), device="cuda"),
    "large integers": lambda t: t.randint(0, 1 << 40, (5000,), device="cuda"),
    "whole range": lambda t: t.empty(5000, device="cuda").random_(),
    "bernoulli": lambda t: t.zeros(5000, device="cuda").bernoulli_(0.3),
    "dropout": lambda t: t.nn.functional.dropout(t.ones(5000, device="cuda"), 0.3),
    "odd dropout": lambda t: t.nn.functional.dropout(t.ones(5001, device="cuda"), 0.3),
    "dropout of halves": lambda t: t.nn.functional.dropout(t.ones(4096, device="cuda").half(), 0.25).float(),
    "probabilities": lambda t: t.bernoulli(t.full((5000,), 0.3, device="cuda")),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_are_torchs(name: str, oracle: Any) -> None:
    found = []
    for t in (torch, oracle):
        t.manual_seed(11)
        found.append([DRAWS[name](t).cpu().numpy() for _ in range(2)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_normal_numbers_are_nearly_torchs(oracle: Any) -> None:
    for t in (torch, oracle):
        t.manual_seed(11)
    ours, theirs = (t.randn(100_000, device="cuda").cpu().numpy() for t in (torch, oracle))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_memory_is_shared_with_torch(oracle: Any) -> None:
    x = torch.arange(10.0, device="cuda") * 2
    theirs = oracle.from_dlpack(x)
    theirs.add_(1)
    oracle.cuda.synchronize()
    assert x.tolist() == [2.0 * i + 1 for i in range(10)]
    mine = torch.from_dlpack(oracle.arange(6.0, device="cuda").reshape(2, 3).t())
    assert (mine * 2).tolist() == [[0.0, 6.0], [2.0, 8.0], [4.0, 10.0]]
    viewed = torch.as_tensor(oracle.ones(4, device="cuda") * 3, device="cuda")
    assert viewed.is_cuda and viewed.tolist() == [3.0] * 4


BROKEN = """
import lazytorch as torch
x = torch.ones(1000, device="cuda").realize()
torch.cuda.synchronize()
x._node.buffer.ptr = 1 << 44  # nobody's memory
y = (x * 2).log1p()
try:
    y.tolist()
except torch.AcceleratorError as error:
    assert "illegal memory access" in str(error) and "<string>" in str(error), error
    print("told")
x._node.buffer.owner = "nobody"
"""


def test_a_fault_is_an_exception_and_no_crash() -> None:
    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
