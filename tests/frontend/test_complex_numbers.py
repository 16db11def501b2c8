"""Complex tensors against torch's: values, element types and gradients (by torch's convention)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.config import config

OPERATIONS = [
    "a + b",
    "a - 2 * b",
    "a * b",
    "a / b",
    "-a",
    "a * (1 + 2j)",
    "a * x",
    "x - a",
    "a @ b",
    "a @ x.to(a.dtype)",
    "a.conj() * b",
    "a.abs()",
    "(a - a).abs()",
    "a.angle()",
    "a.real * a.imag",
    "t.real(a) + t.imag(b)",
    "a.exp()",
    "a.log()",
    "a.sin() + a.cos()",
    "a ** 2",
    "a.sqrt()",
    "a.reciprocal()",
    "a.sum()",
    "a.sum(0)",
    "a.mean(1)",
    "a.reshape(9)",
    "a.T",
    "a.mH",
    "a[1:, None, ::2]",
    "a.expand(2, 3, 3)",
    "a.flip(0)",
    "t.cat([a, b], 1)",
    "t.stack([a, b])",
    "t.where(x > 0, a, b)",
    "t.view_as_real(a)",
    "t.view_as_complex(t.stack([x, y], -1))",
    "t.complex(x, y)",
    "t.polar(x.abs(), y)",
    "x.to(t.complex64)",
    "a.to(t.complex128)",
    "t.isreal(a)",
    "a == b",
    "a.detach()",
    "t.einsum('ij,jk->ik', a, b)",
    "a.prod()",
    "a.cumsum(0)",
]


def _numbers(library: Any, dtype: str) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    real = {"complex64": np.float32, "complex128": np.float64}[dtype]
    made = {name: library.tensor(generator.normal(size=(3, 3)).astype(real), requires_grad=True) for name in "xy"}
    for name in "ab":
        array = (generator.normal(size=(3, 3)) + 1j * generator.normal(size=(3, 3))).astype(dtype)
        made[name] = library.tensor(array, requires_grad=True)
    return {"t": library, **made}


def _outcome(library: Any, text: str, dtype: str) -> list[Any]:
    names = _numbers(library, dtype)
    y = eval(text, names)
    if y.requires_grad:
        weights = library.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
        total = (y.real * weights).sum() + (y.imag * weights).sum() * 2 if y.is_complex() else (y * weights).sum()
        total.backward()
    leaves = [names[name] for name in "abxy"]
    return [
        str(y.dtype),
        *[None if z is None else z.detach().resolve_conj().numpy() for z in (y, *[v.grad for v in leaves])],
    ]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("text", OPERATIONS)
def test_operations_and_gradients_are_torchs(text: str, dtype: str) -> None:
    with config(interpret=True):
        got = _outcome(lt, text, dtype)
    for ours, theirs in zip(got, _outcome(torch, text, dtype), strict=True):
        if not isinstance(theirs, np.ndarray):
            assert (ours is None) == (theirs is None) and (ours is None or ours == theirs)
        else:
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


@pytest.mark.parametrize("fuse", [True, False])
def test_compiled_results_are_those_of_the_reference(fuse: bool) -> None:
    def compute() -> list[np.ndarray]:
        names = _numbers(lt, "complex64")
        a, b, x = names["a"], names["b"], names["x"]
        z = ((a @ b.T + 2 * a - b.conj() * x) * (1 + 2j)).reshape(9)[1:7] + a.exp().sum() / b[0, 0]
        (z.abs().sum() + z.angle().sum()).backward()
        return [v.detach().numpy() for v in (z, a.grad, b.grad, x.grad)]

    with config(fuse=fuse):
        compiled = compute()
    with config(interpret=True):
        reference = compute()
    for ours, exact in zip(compiled, reference, strict=True):
        np.testing.assert_allclose(ours, exact, 2e-5, 2e-5)


def _rotary(library: Any) -> list[np.ndarray]:
    """Rotary position embeddings as language models write them (Su et al. 2021)."""
    library.manual_seed(0)
    frequencies = 1.0 / (10000.0 ** (library.arange(0, 8, 2).float() / 8))
    turns = library.outer(library.arange(5).float(), frequencies)
    cis = library.polar(library.ones_like(turns), turns)
    queries = library.randn(2, 5, 3, 8, requires_grad=True)
    keys = library.randn(2, 5, 3, 8, requires_grad=True)
    rotated = []
    for x in (queries, keys):
        pairs = library.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        rotated.append(library.view_as_real(pairs * cis.view(1, 5, 1, 4)).flatten(3).type_as(x))
    scores = (rotated[0].transpose(1, 2) @ rotated[1].transpose(1, 2).transpose(2, 3)).softmax(-1)
    scores.square().sum().backward()
    return [v.detach().numpy() for v in (*rotated, scores, queries.grad, keys.grad)]


def test_rotary_embeddings_written_with_complex_numbers_are_torchs() -> None:
    for ours, theirs in zip(_rotary(lt), _rotary(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


ERRORS = ["x.imag", "t.view_as_real(x)", "t.view_as_complex(x)", "t.complex(x, x.double())", "t.complex(x.long(), x)"]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_are_torchs(text: str) -> None:
    found = []
    for library in (lt, torch):
        with pytest.raises(RuntimeError) as caught:
            eval(text, _numbers(library, "complex64"))
        found.append(str(caught.value)[:40])
    assert found[0] == found[1]
