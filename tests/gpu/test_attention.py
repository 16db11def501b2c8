"""Attention on GPUs, tile by tile: as near to the exact numbers as torch's, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.codegen.gpu_target import gpu_target
from lazytorch.codegen.schedules import gpu_attention
from lazytorch.config import config
from lazytorch.ir.trace import STATE
from lazytorch.runtime import session
from lazytorch.runtime.explanation import explain_node
from lazytorch.tensor import value
from tests.gpu.ptxas import ARCHITECTURES, find_ptxas
from tests.gpu.test_counters import forget, reports

Sizes = tuple[int, int, int, int]
"""Queries, keys, elements of a head of keys and of values."""


def operands(t: Any, sizes: Sizes, dtype: str, mask: str) -> list[Any]:
    """Query, key, value, cotangent, and a mask of scores, if asked for."""
    rows, count, depth, columns = sizes
    random = np.random.default_rng(rows + count)
    shapes = [(2, rows, depth), (2, count, depth), (2, count, columns), (2, rows, columns)]
    made = [t.tensor(random.standard_normal(shape).astype("f4")).to(getattr(t, dtype)) for shape in shapes]
    if mask == "bool":
        kept = random.random((rows, count)) > 0.5
        kept[3] = False  # a row that attends to nothing
        made.append(t.tensor(kept))
    elif mask == "added":
        made.append(t.tensor(random.standard_normal((2, 1, count)).astype("f4")).to(getattr(t, dtype)))
    return made


def attended(t: Any, given: list[Any], causal: bool, device: str = "cpu") -> list[np.ndarray]:
    """The result and the gradients of query, key and value."""
    query, key, values, cotangent, *masks = [x.to(device) for x in given]
    leaves = [x.detach().clone().requires_grad_() for x in (query, key, values)]
    out = t.nn.functional.scaled_dot_product_attention(*leaves, *masks, is_causal=causal)
    out.backward(cotangent)
    return [x.detach().cpu().double().numpy() for x in (out, *[leaf.grad for leaf in leaves])]


CASES = [
    ((20, 37, 16, 16), "bfloat16", "bool", False),
    ((70, 70, 24, 40), "float16", "", True),
    ((21, 40, 8, 20), "float32", "added", False),
]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of everything, whose kernels are compiled soon."""
    monkeypatch.setattr(gpu_attention, "COLUMNS", (16,))
    monkeypatch.setattr(gpu_attention, "FMA_ROWS", (16, 8))
    forget(monkeypatch)


@pytest.mark.usefixtures("cuda", "small_tiles")
@pytest.mark.parametrize("sizes, dtype, mask, causal", CASES)
def test_attention_and_its_gradients_are_as_near_as_those_of_torch(
    sizes: Sizes, dtype: str, mask: str, causal: bool
) -> None:
    theirs = operands(oracle, sizes, dtype, mask)
    exact = attended(oracle, [x if x.dtype is oracle.bool else x.double() for x in theirs], causal)
    plain = attended(oracle, theirs, causal)
    ours = attended(torch, operands(torch, sizes, dtype, mask), causal, "cuda")
    for got, near, true in zip(ours, plain, exact, strict=True):
        true = np.nan_to_num(true)
        largest = np.abs(true).max()
        assert np.abs(got - true).max() <= max(2 * np.abs(np.nan_to_num(near) - true).max(), 4 * EPSILON[dtype] * largest)


EPSILON = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}


def pending(dtype: str, depth: int = 16, sizes: tuple[int, int] = (40, 40)) -> torch.Tensor:
    """Attention that is not computed yet."""
    query, key, values, *_ = operands(torch, (*sizes, depth, depth), dtype, "")
    return torch.nn.functional.scaled_dot_product_attention(*[x.cuda().realize() for x in (query, key, values)])


@pytest.mark.usefixtures("emulated")
def test_a_kernel_has_no_matrix_of_scores_and_no_bank_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = torch.dump(pending("bfloat16", 64), "ptx")
    assert "mma.sync" in text and "ldmatrix" in text and "cp.async" in text and text.count(".entry") == 1
    (report,) = reports(pending("bfloat16", 64), monkeypatch)
    assert report.bank_conflicts == 0
    assert report.load_used_bytes >= 31 * report.load_sectors


@pytest.mark.usefixtures("cuda", "small_tiles")
def test_what_is_computed_alone_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    given = operands(torch, (20, 37, 16, 16), "bfloat16", "bool")
    together = attended(torch, given, False, "cuda")
    monkeypatch.setattr(session, "_programs", {})
    with config(fuse=False):
        alone = attended(torch, given, False, "cuda")
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("cuda")
def test_longer_rows_than_tiles_hold_are_decomposed() -> None:
    y = pending("float32", 160, (5, 7))
    assert "nn.attention" not in torch.dump(y, "fused")
    query, key, values, *_ = operands(oracle, (5, 7, 160, 160), "float32", "")
    np.testing.assert_allclose(
        y.cpu().numpy(), oracle.nn.functional.scaled_dot_product_attention(query, key, values), rtol=1e-5, atol=1e-5
    )


@pytest.mark.skipif(find_ptxas() is None, reason="there is no ptxas: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ptxas_takes_the_kernels_without_spills(architecture: str) -> None:
    number = ARCHITECTURES.index(architecture)
    dtype, depth = ("float16", "bfloat16", "float32", "bfloat16")[number], (64, 64, 32, 128)[number]
    leaves = [torch.rand(2, 256, depth).to(getattr(torch, dtype)).realize().requires_grad_() for _ in range(3)]
    cotangent = torch.rand(2, 256, depth).to(getattr(torch, dtype)).realize()
    out = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=True)
    made = (out, *torch.autograd.grad(out, leaves, cotangent))[number]
    costs = explain_node(STATE.trace, value(made), gpu_target(architecture))
    kernels = [cost for cost in costs if "attention" in cost.symbol]
    assert kernels and all(cost.spill_bytes == 0 and cost.occupancy > 0 for cost in kernels)
