"""Functions called with odd inputs - scalars, nothing, whole numbers, bools, nan - give torch's value, type or error."""

import pytest
import torch as oracle

import lazytorch


def inputs(t):
    return {
        "scalar": t.tensor(2.5),
        "whole scalar": t.tensor(3),
        "bool scalar": t.tensor(True),
        "floats": t.tensor([1.5, -2.0, 0.0, 3.0]),
        "nan and infinities": t.tensor([float("nan"), 1.0, float("inf"), -float("inf"), -0.0]),
        "whole numbers": t.tensor([3, -1, 0, 2]),
        "bytes": t.tensor([200, 3, 0], dtype=t.uint8),
        "bools": t.tensor([True, False]),
        "nothing": t.zeros(0),
        "no rows": t.zeros(0, 3),
        "matrix": t.tensor([[1.0, 5.0, -2.0], [4.0, 0.0, 6.0]]),
    }


def written(x, key, new):
    y = x.clone()
    y[key] = new
    return y


FUNCTIONS = {
    **{
        name: lambda t, x, name=name: getattr(t, name)(x)
        for name in (
            *("abs", "neg", "sign", "floor", "round", "square", "isinf", "isfinite", "isnan", "bitwise_not", "logical_not"),
            *(
                "sum",
                "mean",
                "max",
                "min",
                "amax",
                "argmax",
                "argmin",
                "all",
                "any",
                "std",
                "var",
                "norm",
                "relu",
                "nonzero",
            ),
            *("tril", "reciprocal", "sqrt", "nan_to_num"),
        )
    },
    "invert": lambda t, x: ~x,
    "plus": lambda t, x: +x,
    "sum of rows": lambda t, x: x.sum(0),
    "largest of rows": lambda t, x: x.max(0)[0],
    "argmin of rows": lambda t, x: x.argmin(0),
    "all of rows": lambda t, x: x.all(0),
    "logsumexp": lambda t, x: t.logsumexp(x, 0),
    "softmax": lambda t, x: t.softmax(x, 0) if x.ndim < 2 else x,
    "flip": lambda t, x: x.flip(0),
    "unbind": lambda t, x: x.unbind(0),
    "narrow": lambda t, x: x.narrow(0, 0, 1),
    "repeat": lambda t, x: x.repeat(2),
    "permute": lambda t, x: x.permute(1, 0),
    "squared": lambda t, x: x**2,
    "to the power of itself": lambda t, x: x**x if x.dtype is not t.float32 else x,
    "to a negative power": lambda t, x: x**-1,
    "ten times": lambda t, x: x**10,
    "one minus": lambda t, x: 1 - x,
    "twice added": lambda t, x: t.add(x, x, alpha=2),
    "outer": lambda t, x: t.outer(x, x),
    "size": lambda t, x: x.size(0),
    "masked_select": lambda t, x: x.masked_select(x > 0),
    "by mask": lambda t, x: x[x > 0],
    "by slice": lambda t, x: x[1:],
    "by number": lambda t, x: x[-1],
    "written by mask": lambda t, x: written(x, x > 0, 1),
    "written number": lambda t, x: written(x, 0, 1.5),
    "scatter": lambda t, x: x.scatter(0, t.zeros_like(x, dtype=t.int64), x),
    "movedim": lambda t, x: x.movedim(0, -1),
    "isclose": lambda t, x: t.isclose(x, x),
    "lerp": lambda t, x: t.lerp(x, x, 0.5),
    "one_hot": lambda t, x: t.nn.functional.one_hot(x),
    "mse_loss": lambda t, x: t.nn.functional.mse_loss(x, x),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, x.shape[-1:]),
    "half": lambda t, x: x.double().half(),
    "full": lambda t, x: t.full((2,), x),
    "arange": lambda t, x: t.arange(x),
    "linspace": lambda t, x: t.linspace(0, x, 3),
}


def shown(t, outcome) -> str:
    if isinstance(outcome, t.Tensor):
        array = outcome.double().reshape(-1).tolist() if outcome.dtype.is_floating_point else outcome.tolist()
        numbers = [f"{x:.4g}" for x in array] if outcome.dtype.is_floating_point else array
        return f"{outcome.dtype} {tuple(outcome.shape)} {numbers}"
    return f"({', '.join(shown(t, x) for x in outcome)})" if isinstance(outcome, tuple) else str(outcome)


def run(t, name: str, kind: str) -> str:
    try:
        return shown(t, FUNCTIONS[name](t, inputs(t)[kind]))
    except Exception as error:
        return f"{type(error).__name__} {str(error).partition('      [')[0][:40]}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_odd_inputs(name: str) -> None:
    for kind in inputs(oracle):
        assert run(lazytorch, name, kind) == run(oracle, name, kind), kind
