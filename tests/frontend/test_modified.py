"""A value that backward() needs and that was written in place meanwhile: an error exactly where it is one in torch."""

import itertools

import pytest
import torch as oracle

import lazytorch

TWO = ((True, True), (True, False), (False, True))
FUNCTIONS = {
    "add": lambda t, a, b: a + b,
    "sub": lambda t, a, b: a - b,
    "mul": lambda t, a, b: a * b,
    "div": lambda t, a, b: a / b,
    "number over tensor": lambda t, a, b: 2 / a,
    "square": lambda t, a, b: a**2,
    "cube": lambda t, a, b: a**3,
    "maximum": lambda t, a, b: t.maximum(a, b),
    "where": lambda t, a, b: t.where(a > 0.5, a, b),
    "matmul": lambda t, a, b: a @ b,
    "matmul of a view": lambda t, a, b: a @ b.t(),
    "product of rows": lambda t, a, b: a[0] * b[1],
    "linear": lambda t, a, b: t.nn.functional.linear(a, b, b[0]),
    "cat": lambda t, a, b: t.cat([a, b]),
    "lerp": lambda t, a, b: t.lerp(a, b, 0.3),
    "addcmul": lambda t, a, b: t.addcmul(a, a, b),
    "mse": lambda t, a, b: t.nn.functional.mse_loss(a, b),
    "l1": lambda t, a, b: t.nn.functional.l1_loss(a, b),
    "cross entropy": lambda t, a, b: t.nn.functional.cross_entropy(a, t.tensor([0, 1, 2])),
    "nll": lambda t, a, b: t.nn.functional.nll_loss(a, t.tensor([0, 1, 2])),
    "conv": lambda t, a, b: t.nn.functional.conv2d(a[None, None], b[None, None]),
    "max pool": lambda t, a, b: t.nn.functional.max_pool2d(a[None, None], 2),
    "clamp": lambda t, a, b: t.clamp(a, 0.5, 1.0),
    "clone": lambda t, a, b: a.clone() * 2,
    "product of clones": lambda t, a, b: a.clone() * b.clone(),
    "softmax": lambda t, a, b: t.softmax(a, 1),
    "log softmax": lambda t, a, b: t.log_softmax(a, 1),
    "norm": lambda t, a, b: a.norm(),
    "embedding": lambda t, a, b: t.nn.functional.embedding(t.tensor([0, 1]), a),
    "indexing": lambda t, a, b: a[t.tensor([0, 1])],
    "roll": lambda t, a, b: t.roll(a, 1, 0),
    "repeat": lambda t, a, b: a.repeat(2, 1),
    "gelu": lambda t, a, b: t.nn.functional.gelu(a),
    "silu": lambda t, a, b: t.nn.functional.silu(a),
}
UNARY = (
    "exp",
    "log",
    "sin",
    "tanh",
    "sigmoid",
    "sqrt",
    "abs",
    "sign",
    "floor",
    "rsqrt",
    "reciprocal",
    "relu",
    "sum",
    "mean",
)
for _name in (*UNARY, "amax", "prod", "erf", "log1p", "expm1"):
    FUNCTIONS[_name] = lambda t, a, b, name=_name: getattr(t, name)(a)


def outcome(t, function, written, wants):
    """Whether backward raises after the operand or the result was written to."""
    a0 = t.tensor([[0.5, 0.7, 1.1], [0.2, 0.9, 1.3], [1.2, 0.3, 0.6]], requires_grad=wants[0])
    b0 = t.tensor([[1.5, 0.8, 1.4], [0.6, 0.4, 0.3], [0.1, 2.0, 1.0]], requires_grad=wants[1])
    a, b = a0 * 1, b0 * 1
    y = function(t, a, b)
    if not y.requires_grad:
        return None
    with t.no_grad():
        {"a": a, "b": b, "y": y}[written].add_(0)
    try:
        y.sum().backward()
    except RuntimeError as error:
        return str(error)[:70]
    return "no error"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_raises_where_torch_raises(name: str) -> None:
    for written, wants in itertools.product("aby", TWO):
        want = outcome(oracle, FUNCTIONS[name], written, wants)
        assert outcome(lazytorch, FUNCTIONS[name], written, wants) == want, (written, wants)


def in_place_on_saved_operand(t, x):
    y = x * 1
    return y.mul_(t.full((3,), 2.0, requires_grad=True))


def in_place_then_overwritten(t, x):
    y = (x * 1).tanh_()
    y += 1
    return y


def through_a_view(t, x):
    y = x * 2
    z = y * y
    y[0] = 5.0
    return z


def through_detach(t, x):
    y = x * 2
    z = y * y
    y.detach().zero_()
    return z


def through_data(t, x):
    y = x * 2
    z = y * 3
    y.data.zero_()
    return z


def a_constant(t, x):
    c = t.ones(3)
    z = x * c
    c += 1
    return z


def a_step_before_the_backward(t, x):
    z = x * x
    x.grad = t.ones(3)
    t.optim.SGD([x], lr=0.1).step()
    return z


def saved_by_a_function(t, x):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    y = x * 1
    z = Square.apply(y)
    y += 1
    return z


def a_write_without_gradients(t, x):
    y = x * 2
    with t.no_grad():
        y.mul_(3)
    return y


def a_view_written_without_gradients(t, x):
    y = x * 2
    with t.no_grad():
        y[:1].mul_(3)
    return y


@pytest.mark.parametrize(
    "program",
    [
        in_place_on_saved_operand,
        in_place_then_overwritten,
        through_a_view,
        through_detach,
        through_data,
        a_constant,
        a_step_before_the_backward,
        saved_by_a_function,
        a_write_without_gradients,
        a_view_written_without_gradients,
    ],
)
def test_a_program_ends_as_in_torch(program) -> None:
    def run(t):
        x = t.tensor([0.5, -1.0, 2.0], requires_grad=True)
        try:
            program(t, x).sum().backward()
        except RuntimeError as error:
            return str(error)[:70]
        return x.grad.tolist()

    assert run(lazytorch) == run(oracle)
