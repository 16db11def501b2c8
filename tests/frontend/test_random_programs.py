"""Random programs of torch calls give in lazytorch what they give in torch: values, types, strides, gradients, refusals."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.torch_programs import Statement, TorchProgram, check, execute, new_scope, oracle, programs


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_random_program_does_what_it_does_in_torch(program: TorchProgram) -> None:
    check(program)


FOUND = {
    "a fraction written to integers is cut off": """
        v1 = t.arange(3)
        v1[...] = -1.5
        v1.add_(1)
    """,
    "a view that was made a leaf stays one": """
        v1 = t.ones(3)
        v2 = v1[1:]
        v2.requires_grad_()
        with t.no_grad(): v2.mul_(3)
        v1.add_(1)
        (v2 * v2).sum().backward()
        v2.add_(1)
    """,
    "flip of a number": """
        v1 = t.tensor(2.0).flip(0)
        v2 = t.tensor(2.0).softmax(0) + t.tensor(2.0).log_softmax(0)
    """,
    "flatten without elements": """
        v1 = t.zeros(4, 5, 0).flatten(0, 1)
        v2 = t.zeros(0, 5, 3).flatten(1)
    """,
    "f16 and bf16 with numbers": """
        v1 = t.ones(3, dtype=t.float16) * 2.5 + 1e6
        v2 = t.ones(3, dtype=t.float16) <= 2
        v3 = (t.ones(3, dtype=t.bfloat16) * 2.5 + 1).float()
        v4 = t.ones(3) * 1e300
    """,
    "a single bool as index": """
        v1 = t.tensor(7.0)
        v1[v1 > 1] = 5
        v2 = t.arange(6).reshape(2, 3)
        v2[t.tensor(False)] = 1
        v3 = v2[t.tensor(True)]
    """,
    "memory that is handed out is read by what was recorded before": """
        v1 = t.arange(6.0)
        v2 = v1[2:]
        v3 = v1 + 1
        v2.detach().numpy()[...] = 9
    """,
    "memory that is handed out belongs to one storage": """
        v1 = t.arange(4.0)
        v2 = v1.clone()
        v3 = v1[1:3]
        str(v2)
        v1.numpy()[...] = 9
        v2.add_(1)
    """,
    "comparisons and integers have no gradient": """
        v1 = t.arange(4.0).requires_grad_()
        v2 = v1 == 2
        v3 = t.ge(v1, v1)
        v4 = v1.argmax()
        v5 = v1.long()
        v6 = v1.isnan()
        v7 = v1.max(0)[1]
    """,
    "a stale view times itself": """
        v1 = t.arange(4.0).requires_grad_()
        v2 = v1.unsqueeze(0)
        v1.detach()[...] = 6
        v3 = t.autograd.grad((v2 * v2).sum(), v1)[0]
        v4 = v2 * v2
    """,
    "a write without grad mode keeps the history": """
        v1 = t.arange(4.0).requires_grad_()
        v2 = v1 * 2
        v3 = v2[:2]
        with t.no_grad(): v2.add_(1)
        with t.no_grad(): v3.add_(1)
        (v2 * v2).sum().backward()
    """,
    "a constant written over a differentiable value ends its gradient": """
        v1 = t.arange(4.0).requires_grad_()
        v2 = v1 * 2
        v2.fill_(0.5)
        v3 = t.cat([v1, v1])
        v3.view(2, 4)[:] = -1.5
        (v2.sum() + v3.sum()).backward()
    """,
    "what saved nothing can be walked back twice": """
        v1 = t.arange(4.0).requires_grad_()
        v2 = (v1.view(2, 2) + 1).flip(0)
        v2.sum().backward()
        (v2 * v2).sum().backward()
        v3 = v1.exp()
        v3.sum().backward()
        v3.sum().backward()
    """,
    "the gradient of a leaf that was written to since": """
        v1 = t.arange(1.0, 4.0).requires_grad_()
        v2 = v1.sqrt()
        with t.no_grad(): v1.mul_(2)
        v3 = t.autograd.grad((v2 * v2 * v1).sum(), v1)[0]
    """,
    "no gradient is zero, not infinity times zero": """
        v1 = t.tensor([-1.0, 2.0]).requires_grad_()
        t.where(v1 > 0, v1, v1 * 0).mul(float("inf")).sum().backward()
        v2 = t.tensor([-1.5, 2.0]).requires_grad_()
        (v2.floor() * float("inf")).sum().backward()
        v3 = t.tensor([-3.0, 1.0, 3.0]).requires_grad_()
        (v3.clamp(-2, 2) * float("inf")).sum().backward()
        v4 = t.tensor([-3.0, 1.0, 3.0]).requires_grad_()
        (t.maximum(v4, -v4.detach()) * float("inf")).sum().backward()
    """,
    "logsumexp of nothing": """
        v1 = t.zeros(2, 0).logsumexp(1)
        v2 = t.zeros(0, 3).logsumexp(1, keepdim=True)
    """,
    "small types": """
        v1 = (t.arange(4) % 2 == 0).square()
        v2 = (t.arange(4) % 2 == 0).sign()
        v3 = t.arange(4, dtype=t.uint8).any()
        v4 = t.arange(4, dtype=t.uint8).reshape(2, 2).all(dim=0)
        v5 = t.tensor([float("nan"), -2.0, 0.0]).sign()
        v6 = t.tensor([float("nan"), 1e10, -1e10, 300.7]).to(t.int32)
        v7 = t.tensor([float("nan"), 1e10, -1e10, 300.7]).to(t.int8)
        v8 = t.tensor([1.00048828125 + 2.0**-40], dtype=t.float64).half()
    """,
}
"""Programs that once went wrong, as small as they get."""


@pytest.mark.parametrize("name", FOUND)
def test_a_program_that_went_wrong_once_goes_right(name: str) -> None:
    scope = new_scope(oracle)
    lines = [line.strip() for line in FOUND[name].strip().splitlines()]
    check(TorchProgram(tuple([Statement(line, execute(line, scope)) for line in lines])))
