"""Products by matrix instructions (tensor cores): their numbers, their PTX, and how they use memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.codegen.schedules import gpu_contract
from lazytorch.codegen.schedules.gpu_contract_fma import FMA_TILES
from lazytorch.codegen.schedules.gpu_contract_matrix import MATRIX_TILES
from lazytorch.config import config
from tests.gpu.ptxas import ARCHITECTURES, assemble, find_ptxas
from tests.gpu.test_counters import forget, reports
from tests.gpu.test_ptx import modules

F = torch.nn.functional
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-11}
"""Half a unit in the last place of the results; of tf32, of the operands."""
ORDERS = ("nn", "nt", "tn", "tt")


def operands(m: int, k: int, n: int, dtype: str, order: str = "nn", batch: tuple[int, ...] = ()) -> list[Any]:
    """Two matrices as oracle tensors; t: stored the other way round."""
    generator = oracle.Generator().manual_seed(m + k + n)
    found = []
    for shape, letter in zip(((m, k), (k, n)), order, strict=True):
        x = oracle.randn(*batch, *shape, generator=generator).to(getattr(oracle, dtype))
        found.append(x.mT.contiguous().mT if letter == "t" else x)
    return found


def ours(x: Any) -> torch.Tensor:
    """An oracle tensor as one of ours with the same strides."""
    if x.stride(-1) != 1 and x.dim() >= 2:
        return ours(x.mT).mT
    return torch.tensor(x.float().numpy()).to(getattr(torch, str(x.dtype).removeprefix("oracle.").removeprefix("torch.")))


def error(got: Any, exact: np.ndarray) -> float:
    """The largest difference, in parts of the largest number."""
    return float(np.abs(np.asarray(got.cpu().double()) - exact).max() / np.abs(exact).max())


CASES = [
    *[(32, 64, 48, "bfloat16", order, ()) for order in ORDERS],
    *[(33, 67, 35, "bfloat16", order, ()) for order in ("nn", "tt")],
    *[(40, 24, 36, "float16", order, ()) for order in ("nn", "tt")],
    *[(36, 40, 44, "float32", order, ()) for order in ("nt", "tn")],
    (7, 1100, 5, "bfloat16", "nn", ()),
    (1, 30, 70, "float16", "nt", (2, 3)),
    (18, 10, 6, "float32", "nn", (3,)),
]


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("m, k, n, dtype, order, batch", CASES)
def test_products_are_as_near_as_those_of_torch(
    m: int, k: int, n: int, dtype: str, order: str, batch: tuple[int, ...]
) -> None:
    a, b = operands(m, k, n, dtype, order, batch)
    exact = (a.double() @ b.double()).numpy()
    with config(tf32=True):
        got = (ours(a).cuda() @ ours(b).cuda()).realize()
    assert error(got, exact) <= max(1.2 * error(a @ b, exact), ROUNDING[dtype] * (2 if dtype == "float32" else 1))


@pytest.mark.usefixtures("cuda")
def test_an_epilogue_is_fused_and_the_same_alone() -> None:
    a, b = (ours(x).cuda().realize() for x in operands(33, 64, 40, "bfloat16"))
    bias, residual = torch.rand(40).bfloat16().cuda().realize(), torch.rand(33, 40).cuda().realize()
    together = torch.relu(a @ b + bias).float() * residual
    assert torch.dump(together, "fused").count("fused.kernel") == 1
    product = (a @ b).realize()
    assert torch.equal(together, torch.relu(product + bias).float() * residual)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dividing_k_changes_no_number(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (ours(x).cuda().realize() for x in operands(20, 1100 if dtype == "bfloat16" else 520, 24, dtype))
    divided = torch.relu(a @ b)
    assert torch.dump(divided, "loop").count("loop.kernel") == 2
    divided.realize()
    monkeypatch.setattr(gpu_contract, "ENOUGH_TILES", 0)
    forget(monkeypatch)
    whole = torch.relu(a @ b)
    assert torch.dump(whole, "loop").count("loop.kernel") == 1
    assert torch.equal(divided, whole)


@pytest.mark.usefixtures("cuda")
def test_a_convolution_multiplies_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 3, 9, 9, generator=generator).bfloat16(), torch.randn(8, 3, 3, 3, generator=generator).bfloat16()
    y = F.conv2d(x.cuda(), w.cuda(), padding=1)
    assert "mma.sync" in torch.dump(y, "ptx")
    exact = F.conv2d(x.double(), w.double(), padding=1).numpy()
    assert error(y, exact) <= ROUNDING["bfloat16"]


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    "tile, dtype, order",
    [
        (MATRIX_TILES[0], "bfloat16", "nn"),
        (MATRIX_TILES[1], "float32", "tt"),
        *[(MATRIX_TILES[2], dtype, order) for dtype in ("float16", "float32") for order in ORDERS],
    ],
)
def test_memory_is_used_well(tile: Any, dtype: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_contract, "tile_for", lambda *sizes: tile)
    forget(monkeypatch)
    a, b = (ours(x).cuda().realize() for x in operands(tile.rows, 128, tile.columns, dtype, order))
    with config(tf32=True):
        (report,) = reports(a @ b, monkeypatch)
    assert report.bank_conflicts == 0
    nbytes = 2 * tile.rows * 128 * a.element_size()
    assert report.load_used_bytes == nbytes == 32 * report.load_sectors
    assert report.load_requests == nbytes // 512  # 32 threads of 16 bytes
    assert report.store_used_bytes == 32 * report.store_sectors


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptxas_takes_tiles_without_spills(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = ARCHITECTURES.index(architecture)
    order, tile = ORDERS[number], (*MATRIX_TILES, FMA_TILES[0])[number]
    dtype = "float32" if tile in FMA_TILES else "float16" if architecture == "sm_75" else "bfloat16"
    a, b = (ours(x).realize() for x in operands(256, 640, 256, dtype, order))
    monkeypatch.setattr(gpu_contract, "tile_for", lambda *sizes: tile)
    monkeypatch.setattr(gpu_contract, "ENOUGH_TILES", 0)
    forget(monkeypatch)
    (text,) = modules(torch.relu(a @ b + b[0]), architecture)
    assert ("mma.sync" in text) == (tile in MATRIX_TILES)
    assert tile not in MATRIX_TILES or ("cp.async" in text) == (architecture != "sm_75")
    (cost,) = assemble(text, architecture).values()
    assert cost.spill_bytes == 0


def test_what_an_architecture_lacks_is_not_used() -> None:
    a, b = (ours(x).realize() for x in operands(32, 32, 32, "bfloat16"))
    (text,) = modules(a @ b, "sm_75")
    assert "mma.sync" not in text and "fma.rn.f32" in text
    (text,) = modules(a.half().realize() @ b.half().realize(), "sm_75")
    assert "mma.sync.aligned.m16n8k8" in text and "cp.async" not in text


def test_tf32_is_used_where_it_is_allowed() -> None:
    a, b = (ours(x).realize() for x in operands(32, 32, 32, "float32"))
    (exact,) = modules(a @ b, "sm_80")
    assert "mma.sync" not in exact
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert torch.backends.cuda.matmul.allow_tf32
        (fast,) = modules(a @ b, "sm_80")
        assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in fast and "cvt.rna.tf32.f32" in fast
        torch.backends.cuda.matmul.allow_tf32 = False
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
