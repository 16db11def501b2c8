"""grad_fn: torch's names of autograd nodes, and the functions that come next."""

import pytest
import torch as oracle

import lazytorch

F = {oracle: oracle.nn.functional, lazytorch: lazytorch.nn.functional}


def index(t):
    return t.zeros(1, 1, dtype=t.int64)


def written(x, key):
    x[key] = 1.0
    return x


FUNCTIONS = {
    "max along": lambda t, x: x.max(1)[0],
    "min along": lambda t, x: x.min(0).values,
    "max": lambda t, x: x.max(),
    "clamp": lambda t, x: x.clamp(0, 1),
    "clamp from below": lambda t, x: x.clamp(0),
    "clamp from above": lambda t, x: x.clamp(max=1),
    "clamp by tensors": lambda t, x: x.clamp(x.detach(), x.detach()),
    "clamp_min": lambda t, x: x.clamp_min(0),
    "clamp_max": lambda t, x: x.clamp_max(0),
    "addmm": lambda t, x: t.addmm(x, x, x),
    "baddbmm": lambda t, x: t.baddbmm(x[None], x[None], x[None], beta=2),
    "bmm": lambda t, x: t.bmm(x[None], x[None]),
    "matmul of batches": lambda t, x: x[None] @ x,
    "matmul with a transposed matrix": lambda t, x: x @ x.t(),
    "matrix times vector": lambda t, x: x @ x[0],
    "einsum": lambda t, x: t.einsum("ij,jk->ik", x, x),
    "einsum that transposes": lambda t, x: t.einsum("ij->ji", x),
    "linear": lambda t, x: F[t].linear(x, x, x[0]),
    "linear of batches": lambda t, x: F[t].linear(x[None], x, x[0]),
    "index_select": lambda t, x: x.index_select(0, t.tensor([0])),
    "masked_select": lambda t, x: x.masked_select(x > 0),
    "gather": lambda t, x: x.gather(0, index(t)),
    "scatter": lambda t, x: x.scatter(0, index(t), x),
    "scatter of a number": lambda t, x: x.scatter(0, index(t), 1.0),
    "scatter_add": lambda t, x: x.scatter_add(0, index(t), x),
    "roll": lambda t, x: x.roll(1, 0),
    "unbind": lambda t, x: x.unbind(0)[1],
    "iteration": lambda t, x: next(iter(x)),
    "all by a slice": lambda t, x: x[:],
    "all by an ellipsis": lambda t, x: x[...],
    "number to a power": lambda t, x: 2**x,
    "power of a half": lambda t, x: x**0.5,
    "number minus": lambda t, x: 1 - x,
    "number over": lambda t, x: 1 / x,
    "remainder": lambda t, x: x % 2,
    "remainder of tensors": lambda t, x: x % x,
    "norm": lambda t, x: x.norm(),
    "norm of absolutes": lambda t, x: x.norm(1),
    "largest norm": lambda t, x: x.norm(float("inf")),
    "logsumexp": lambda t, x: t.logsumexp(x, 0),
    "lerp": lambda t, x: t.lerp(x, x, 0.5),
    "lerp by a tensor": lambda t, x: t.lerp(x, x, x),
    "addcmul": lambda t, x: t.addcmul(x, x, x),
    "addcdiv": lambda t, x: t.addcdiv(x, x, x, value=2),
    "round to decimals": lambda t, x: t.round(x, decimals=1),
    "nan_to_num": lambda t, x: t.nan_to_num(x),
    "l1_loss": lambda t, x: F[t].l1_loss(x, x),
    "attention": lambda t, x: F[t].scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    "writing by index": lambda t, x: written(x * 1, 0),
    "copy_": lambda t, x: (x * 1).copy_(x),
    "fill_": lambda t, x: (x * 1).fill_(1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_name_is_torchs(name: str) -> None:
    def run(t):
        out = FUNCTIONS[name](t, t.ones(3, 3, requires_grad=True))
        return out.grad_fn.name(), repr(out.grad_fn).partition(" ")[0]

    assert run(lazytorch) == run(oracle)


def test_next_functions_end_at_the_leaves() -> None:
    def run(t):
        x = t.ones(3, requires_grad=True)
        first = (x * 2 + x).grad_fn
        product, leaf = first.next_functions
        return (
            product[0].name(),
            [f and f.name() for f, _ in product[0].next_functions],
            leaf[0].name(),
            leaf[0].variable is x,
        )

    assert run(lazytorch) == run(oracle)


def test_the_result_of_a_custom_function_prints_after_backward() -> None:
    def run(t):
        class Square(t.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, g):
                return 2 * g * ctx.saved_tensors[0]

        y = Square.apply(t.tensor([1.0, 2.0], requires_grad=True))
        y.sum().backward()
        return repr(y), repr(y)

    assert run(lazytorch) == run(oracle)


def test_constants_written_to_a_result_leave_it_in_the_history() -> None:
    def run(t):
        x = t.ones(3, requires_grad=True)
        y = x * 2
        y.zero_()
        z = x * 3
        z[:] = 4.0
        (y + z).sum().backward()
        return y.requires_grad, z.requires_grad, x.grad.tolist()

    assert run(lazytorch) == run(oracle)


def test_grad_takes_the_deprecated_only_inputs() -> None:
    for t in (oracle, lazytorch):
        x = t.tensor([1.0, 2.0], requires_grad=True)
        keywords = {"grad_outputs": t.ones(2), "create_graph": True, "retain_graph": True, "only_inputs": True}
        (gradient,) = t.autograd.grad(outputs=x * x, inputs=x, **keywords)
        assert gradient.tolist() == [2, 4]
        with pytest.warns(FutureWarning, match="only_inputs argument is deprecated"):
            t.autograd.grad((x * x).sum(), x, only_inputs=False)
