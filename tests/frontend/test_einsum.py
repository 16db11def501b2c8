"""torch.einsum: values and gradients as torch's."""

import pytest
import torch as oracle

import lazytorch

EQUATIONS = {
    "ii->i": [(3, 3)],
    "ii": [(3, 3)],
    "iij->ij": [(3, 3, 2)],
    "iji->j": [(3, 2, 3)],
    "iij,jk->ik": [(3, 3, 2), (2, 2)],
    "ik,kj->i": [(2, 3), (3, 2)],
    "ij,kl->": [(2, 3), (3, 2)],
    "...ij,...jk->...ik": [(2, 2, 3), (3, 2)],
    "...i->...": [(2, 3)],
    "i...,i...": [(2, 3), (2, 3)],
    "ij,jk->ik": [(2, 1), (3, 2)],
    "ij,jk,kl->li": [(2, 3), (3, 2), (2, 2)],
    "bI, bI -> b": [(2, 3), (2, 3)],
    "ba": [(2, 3)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_an_equation(equation: str) -> None:
    def run(t):
        operands = []
        for shape in EQUATIONS[equation]:
            count = oracle.Size(shape).numel()
            operands.append((t.arange(float(count)) * 0.5 - 1).reshape(shape).requires_grad_())
        out = t.einsum(equation, *operands)
        (out * out).sum().backward()
        return out.tolist(), [x.grad.tolist() for x in operands]

    assert run(lazytorch) == run(oracle)


def test_lists_of_dimensions() -> None:
    def run(t):
        a, b = t.arange(6.0).reshape(2, 3), t.arange(12.0).reshape(3, 4)
        return t.einsum(a, [0, 1], b, [1, 2], [2, 0]).tolist(), t.einsum(a, [..., 0], [0, ...]).tolist()

    assert run(lazytorch) == run(oracle)


def test_the_common_type_and_membership() -> None:
    def run(t):
        x, y = t.ones(2), t.ones(2, dtype=t.int64)
        pairs = [(x, y), (y, 1.5), (1, 1.5), (x, t.tensor(1.0, dtype=t.float64)), (True, y.byte())]
        types = [str(t.result_type(a, b)) for a, b in pairs] + [t.can_cast(t.float32, t.int64), t.can_cast(t.int8, t.bool)]
        return types, 1 in x, 3 in x, t.tensor(1.0) in x, float(t.ones(1, 1)), x[..., ...].tolist(), x[[1.0]].tolist()

    assert run(lazytorch) == run(oracle)
