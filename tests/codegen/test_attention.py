"""Attention tile by tile: torch's numbers, one hash for every target, batch and number of threads, no matrix of scores."""

from typing import Any

import numpy as np
import pytest
import torch as oracle
from torch.nn.attention import SDPBackend, sdpa_kernel

import lazytorch as torch
from lazytorch.codegen.launch import ScheduleContext, Scratch
from lazytorch.codegen.schedules import schedule
from lazytorch.codegen.target import target_named
from lazytorch.config import config
from lazytorch.ir.dialects import fused
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager

INFINITY = float("inf")


def attended(
    t: Any,
    sizes: tuple[int, ...],
    dtype: str = "float32",
    mask: Any = None,
    lead: tuple[int, ...] = (2,),
    computed_before: bool = False,
    **options: Any,
) -> list[Any]:
    """Result and gradients of attention of `sizes`: queries, keys, and elements of a head of keys and of values."""
    rows, count, depth, columns = sizes
    random = np.random.default_rng(rows + count)
    shapes = [(*lead, rows, depth), (*lead, count, depth), (*lead, count, columns)]
    operands = [t.tensor(random.standard_normal(shape)).to(getattr(t, dtype)).requires_grad_() for shape in shapes]
    given = None if mask is None else mask(t)
    out = t.nn.functional.scaled_dot_product_attention(*operands, given, **options)
    if computed_before:
        out.sum().item()
    out.backward(t.tensor(random.standard_normal(tuple(out.shape))).to(out.dtype))
    learned = [given] if given is not None and given.requires_grad else []
    return [out.detach(), *[x.grad for x in (*operands, *learned)]]


def same(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    for x, y in zip(ours, theirs, strict=True):
        assert str(x.dtype).split(".")[-1] == str(y.dtype).split(".")[-1] and tuple(x.shape) == tuple(y.shape)
        wanted = y.double().numpy()
        scale = max(1.0, np.abs(wanted).max(initial=0.0))
        np.testing.assert_allclose(x.double().numpy(), wanted, rtol=0, atol=tolerance * scale)


SIZES = [
    *[(n, n, 8, 8) for n in (0, 1, 17, 127)],
    (1025, 1025, 16, 16),
    (5, 300, 40, 40),
    (70, 513, 64, 64),
    (130, 33, 80, 80),
    (65, 257, 128, 128),
    (20, 300, 192, 192),
    (30, 40, 1, 1),
    (3, 9, 300, 5),
    (3, 9, 7, 600),
    (4, 0, 8, 8),
    (0, 4, 8, 8),
    (3, 4, 8, 0),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_results_and_gradients_are_torchs(sizes: tuple[int, ...], causal: bool) -> None:
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12))[: 1 if causal else 2]:
        same(attended(torch, sizes, dtype, is_causal=causal), attended(oracle, sizes, dtype, is_causal=causal), tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_halves_are_computed_in_float32(dtype: str, tolerance: float) -> None:
    sizes = (70, 300, 24, 40)
    same(attended(torch, sizes, dtype), attended(oracle, sizes, dtype), tolerance)


MASKS = {
    "bool": lambda t: t.arange(70)[:, None] >= t.arange(300),
    "bool per key": lambda t: (t.arange(300) % 3 > 0)[None],
    "added": lambda t: t.linspace(-3, 3, 70 * 300).reshape(70, 300).sin(),
    "added per row": lambda t: t.linspace(-3, 3, 140).reshape(2, 1, 70, 1).sin(),
    "added per head": lambda t: t.linspace(-3, 3, 900).reshape(3, 1, 300).sin(),
    "turned": lambda t: t.linspace(-3, 3, 70 * 300).reshape(300, 70).sin().t(),
    "rows that attend to nothing": lambda t: t.where(t.arange(70)[:, None] % 5 > 0, 0.0, -INFINITY).expand(70, 300),
    "nothing at all": lambda t: (t.arange(300) < 0)[None],
    "learned": lambda t: t.linspace(-3, 3, 210).reshape(3, 70, 1).requires_grad_(),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_torchs(name: str) -> None:
    options = {"mask": MASKS[name], "lead": (2, 3)}
    same(attended(torch, (70, 300, 16, 16), **options), attended(oracle, (70, 300, 16, 16), **options), 1e-5)


def test_heads_that_share_keys_and_rows_that_are_not_neighbours() -> None:
    def program(t: Any) -> list[Any]:
        random = np.random.default_rng(0)
        packed = t.tensor(random.standard_normal((2, 40, 8, 16)).astype(np.float32)).requires_grad_()
        q, k, v = packed.transpose(1, 2).split([4, 2, 2], 1)
        out = t.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)
        out.transpose(1, 2).sin().sum().backward()
        return [out.detach(), packed.grad]

    same(program(torch), program(oracle), 1e-5)


def test_second_derivatives_are_torchs() -> None:
    def program(t: Any) -> list[Any]:
        random = np.random.default_rng(0)
        q, k, v = (t.tensor(random.standard_normal((1, 2, 5, 4))).requires_grad_() for _ in range(3))
        mask = t.arange(5)[:, None] + 1 >= t.arange(5)
        with sdpa_kernel(SDPBackend.MATH):
            out = t.nn.functional.scaled_dot_product_attention(q, k, v, mask)
            first = t.autograd.grad(out.sin().sum(), (q, k, v), create_graph=True)
            return [*first, *t.autograd.grad(sum(x.square().sum() for x in first), (q, k, v))]

    same([x.detach() for x in program(torch)], [x.detach() for x in program(oracle)], 1e-11)


@pytest.mark.parametrize("sizes, causal", [((70, 600, 20, 33), False), ((300, 300, 64, 64), True), ((9, 9, 8, 8), True)])
def test_every_target_batch_and_number_of_threads_gives_the_same_bits(sizes: tuple[int, ...], causal: bool) -> None:
    def bits(**options: Any) -> list[bytes]:
        return [x[..., :1, :, :].numpy().tobytes() for x in attended(torch, sizes, is_causal=causal, lead=(3,), **options)]

    wanted = bits()
    assert bits(computed_before=True) == wanted, "the backward in a program of its own"
    for setting in ({"target": "x86-64-v3"}, {"num_threads": 1}, {"num_threads": 2}, {"fuse": False}, {"num_threads": 8}):
        with config(**setting):
            assert bits() == wanted, setting
    rows, count, depth, columns = sizes
    random = np.random.default_rng(rows + count)
    whole = [random.standard_normal((3, n, d)) for n, d in ((rows, depth), (count, depth), (count, columns))]
    cotangent = random.standard_normal((3, rows, columns))
    operands = [torch.tensor(x[:1]).float().requires_grad_() for x in whole]
    out = torch.nn.functional.scaled_dot_product_attention(*operands, is_causal=causal)
    out.backward(torch.tensor(cotangent[:1]).float())
    assert [x.detach().numpy().tobytes() for x in (out, *[x.grad for x in operands])] == wanted


PROGRAM = """
func @f(%q: tensor<NxDxf32>, %k: tensor<NxDxf32>, %v: tensor<NxDxf32>, %d: tensor<Nxf32>) -> (TYPE, TYPE, TYPE, TYPE) {
  %0 = nn.attention %q, %k, %v {scale = 0.125} : TYPE
  %1 = nn.attention_logsumexp %q, %k {scale = 0.125} : tensor<Nxf32>
  %2 = nn.attention_backward %0, %q, %k, %v, %1, %d {scale = 0.125, operand = 0} : TYPE
  %3 = nn.attention_backward %0, %q, %k, %v, %1, %d {scale = 0.125, operand = 1} : TYPE
  %4 = nn.attention_backward %0, %q, %k, %v, %1, %d {scale = 0.125, operand = 2} : TYPE
  return %0, %2, %3, %4 : TYPE, TYPE, TYPE, TYPE
}"""


def _scratch(length: int, threads: int) -> int:
    """Bytes of scratch memory of attention's kernels."""
    func = parse_func(PROGRAM.replace("TYPE", "tensor<NxDxf32>").replace("N", str(length)).replace("D", "64"))
    PassManager("fuse").run_on_func(func)
    context = ScheduleContext(target_named("x86-64-v4"), threads)
    kernels = [operation for operation in func.region.block if operation.declaration is fused.kernel]
    assert [kernel.attributes.schedule for kernel in kernels] == ["attention", "attention"]
    launches = [launch for kernel in kernels for launch in schedule(kernel, context)]
    return sum(slot.nbytes for launch in launches for slot in launch.slots if isinstance(slot, Scratch))


@pytest.mark.parametrize("threads", [1, 8])
def test_memory_is_linear_in_the_length_of_the_sequence(threads: int) -> None:
    assert _scratch(1 << 16, threads) <= 2.1 * _scratch(1 << 15, threads)
    assert _scratch(1 << 14, 1) < (1 << 28) // 8, "scores of all pairs would be 1 GiB"
