"""torch.compile: what is replayed gives what the function itself gives, and what cannot be replayed is recorded."""

import copy
import re

import numpy as np
import pytest
import torch as oracle

import lazytorch as torch
from lazytorch.config import config
from lazytorch.runtime.statistics import STATISTICS

nn, F = torch.nn, torch.nn.functional
CALLS = 5  # recorded, recorded and captured, replayed


class Both:
    """A workload made twice from the same seed: once as it is, once with its function compiled."""

    def __init__(self, make, **options):
        self.parts = []
        for compiled in (False, True):
            torch.manual_seed(11)
            function, *state = make()
            self.parts.append((torch.compile(function, **options) if compiled else function, state))

    def call(self, *arguments, seed=3):
        outcomes = []
        for function, state in self.parts:
            torch.manual_seed(seed)
            given = [copy.deepcopy(x) if isinstance(x, torch.Tensor) else x for x in arguments]
            outcomes.append(numbers([function(*given), given, *state]))
        assert outcomes[0] == outcomes[1]

    def both(self, change):
        for _, state in self.parts:
            change(*state)


def numbers(tree):
    """All numbers in tensors, modules, their gradients and optimizers."""
    if isinstance(tree, torch.Tensor):
        own = [tuple(tree.shape), tree.requires_grad, tree.detach().clone().numpy().tobytes()]
        return own + ([numbers(tree.grad)] if tree.is_leaf and tree.grad is not None else [])
    if isinstance(tree, nn.Module):
        return [numbers(x) for x in (*tree.parameters(), *tree.buffers())]
    if isinstance(tree, torch.optim.Optimizer):
        return [[numbers(x) for x in state.values()] for state in tree.state.values()]
    if isinstance(tree, dict):
        return {key: numbers(x) for key, x in tree.items()}
    return [numbers(x) for x in tree] if isinstance(tree, list | tuple) else tree


def replays(function):
    before = STATISTICS.calls_replayed
    function()
    return STATISTICS.calls_replayed - before


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 3))


def training(optimizer, **options):
    def make():
        model = network()
        steps = optimizer(model.parameters(), **options)

        def step(x, y):
            steps.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            steps.step()
            return loss

        return step, model, steps

    return make


def accumulation():
    model = network()

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        (loss / 2).backward()
        return {"loss": loss.detach(), "nothing": None, "count": 3}

    return step, model


def inference():
    model = network().eval()

    def run(x, y):
        with torch.no_grad():
            return model(x).softmax(-1)

    return run, model


def views(*_):
    def run(x, y):
        z = x * 2
        return z, z[1:], z.t(), x, (x + 1).reshape(-1)[3:7], [y + 1, (y,)]

    return (run,)


def written():
    total = torch.zeros(6)

    def run(x, y):
        x[:, 1] += 3
        x.mul_(2)
        total.add_(x.detach().sum(0))
        return x[0]

    return run, total


def drawn():
    def run(x, y):
        noise = torch.randn(8, 6) + torch.rand_like(x) + torch.randperm(6)
        mask = torch.rand(8, 6) < 0.5
        return x + noise * mask, torch.randint(0, 5, (3,)), torch.empty(4).uniform_(-1, 1)

    return (run,)


def constants():
    def run(x, y):
        table = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        return x * table + np.float32(0.25) + torch.arange(6) + 1.5

    return (run,)


def own_function():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2 + ctx.saved_tensors[0]

    w = torch.randn(6).requires_grad_()

    def step(x, y):
        w.grad = None
        Double.apply(x * w).sum().backward()
        return w.grad

    return step, w


CAPTURED = {
    "SGD": training(torch.optim.SGD, lr=0.1),
    "SGD with momentum": training(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "Adam": training(torch.optim.Adam),
    "AdamW": training(torch.optim.AdamW, amsgrad=True),
    "NAdam": training(torch.optim.NAdam),
    "RMSprop": training(torch.optim.RMSprop, momentum=0.5),
    "gradients that add up": accumulation,
    "inference": inference,
    "views": views,
    "written": written,
    "drawn": drawn,
    "constants": constants,
    "a function of the user's own": own_function,
}


@pytest.mark.parametrize("name", CAPTURED)
def test_replayed_calls_do_what_the_function_does(name):
    pair = Both(CAPTURED[name])

    def run():
        for seed in range(CALLS + 1):
            torch.manual_seed(seed)
            pair.call(torch.randn(8, 6), torch.randint(0, 3, (8,)), seed=seed)

    assert replays(run) >= 3


def test_what_is_computed_forward_differentiates_as_without_compile():
    def make():
        model = network()
        return model, model

    def use(model, compiled):
        for seed in range(CALLS):
            torch.manual_seed(seed)
            x = torch.randn(8, 6).requires_grad_()
            out = compiled(x)
            out.register_hook(lambda g: g * 2)
            (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            slope.square().sum().backward()
            yield numbers([out, x, model])

    torch.manual_seed(1)
    plain = network()
    torch.manual_seed(1)
    other = network()
    compiled = torch.compile(other)
    before = STATISTICS.calls_replayed
    assert list(use(plain, plain)) == list(use(other, compiled))
    assert STATISTICS.calls_replayed - before == CALLS - 2


CHANGES = {
    "evaluation": lambda model, steps: model.eval(),
    "an option of a module": lambda model, steps: setattr(model[3], "p", 0.7),
    "a frozen parameter": lambda model, steps: model[0].weight.requires_grad_(False),
    "a new layer": lambda model, steps: model.append(nn.Tanh()),
    "a hook": lambda model, steps: model[0].register_forward_hook(lambda module, given, out: out * 2),
    "a hook of a tensor": lambda model, steps: model[0].bias.register_hook(lambda g: g * 3),
    "a learning rate": lambda model, steps: steps.param_groups[0].update(lr=0.5),
    "weight decay": lambda model, steps: steps.param_groups[0].update(weight_decay=0.5),
    "a state that is loaded": lambda model, steps: steps.load_state_dict(copy.deepcopy(steps.state_dict())),
    "other parameters": lambda model, steps: model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}),
    "no gradients": lambda model, steps: steps.zero_grad(),
    "a weight written by hand": lambda model, steps: model[0].bias.data.fill_(0.5),
    "weights that NumPy shares": lambda model, steps: model[0].bias.detach().numpy(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_call_sees_what_changed_since_it_was_captured(name):
    pair = Both(training(torch.optim.Adam))
    torch.manual_seed(0)
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    for seed in range(CALLS):
        pair.call(x, y, seed=seed)
    pair.both(CHANGES[name])
    for seed in range(CALLS):
        pair.call(x, y, seed=seed)


def test_arguments_of_other_kinds_are_captured_apart():
    pair = Both(lambda: (lambda x, k=1, **more: (x * k + sum(more.values())).sum(0),))

    def run():
        for _ in range(3):
            pair.call(torch.ones(3, 2))
            pair.call(torch.ones(4, 2))
            pair.call(torch.ones(4, 2), 2)
            pair.call(torch.ones(4, 2, dtype=torch.float64), 2.0)
            pair.call(torch.ones(2, 4).t(), 2.0)

    run()
    assert replays(run) == 15


def test_values_that_python_reads_are_watched():
    options = {"scale": 2.0}

    class Settings:
        offset = 1

        def __init__(self):
            self.power = 2

    settings = Settings()
    function = torch.compile(lambda x: (x * options["scale"] + 1) ** settings.power)
    x = torch.ones(3)
    assert [function(x).sum().item() for _ in range(4)] == [27.0] * 4
    options["scale"] = 3.0
    assert function(x).sum().item() == 48.0
    settings.power = 1
    assert [function(x).sum().item() for _ in range(4)] == [12.0] * 4


def counting():
    calls = []

    def run(x):
        calls.append(1)
        return x * len(calls)

    return run


def keeping():
    kept = {}

    def run(x):
        kept["last"] = x * 2
        return x + 1

    return run


def growing():
    model = nn.Linear(3, 3)
    model.count = 0

    def run(x):
        model.count += 1
        return model(x) + model.count

    return run


NOT_CAPTURED = {
    "asked for": (lambda: lambda x: x * x.sum().item(), "item"),
    "a condition": (lambda: lambda x: x + 1 if x.sum() > 0 else x, "bool"),
    "counting": (counting, "elements has others"),
    "keeping": (keeping, "kept"),
    "growing": (growing, "'count' of a module"),
    "looked at": (lambda: lambda x: x[torch.multinomial(torch.ones(3), 1)], "random numbers|asked for"),
}


@pytest.mark.parametrize("name", NOT_CAPTURED)
def test_what_cannot_be_replayed_is_recorded_each_time(name, capsys):
    make, reason = NOT_CAPTURED[name]
    torch.manual_seed(0)
    plain, function = make(), torch.compile(make())
    if name == "growing":
        torch.manual_seed(0)
        plain = make()
        torch.manual_seed(0)
        function = torch.compile(make())
    torch.manual_seed(1)
    expected = [plain(torch.ones(3)).tolist() for _ in range(CALLS)]
    torch.manual_seed(1)
    with config(log=("graph_breaks",)):
        assert replays(lambda: check(function, expected)) == 0
    assert re.search(reason, capsys.readouterr().err)
    with pytest.raises(RuntimeError, match="fullgraph=True"):
        strict = torch.compile(make(), fullgraph=True)
        for _ in range(3):
            strict(torch.ones(3))


def check(function, expected):
    assert [function(torch.ones(3)).tolist() for _ in expected] == expected


def test_a_message_says_why_a_function_is_captured_again(capsys, monkeypatch):
    scale = [2.0]
    function = torch.compile(lambda x: x * scale[0])
    for _ in range(3):
        function(torch.ones(3))
    monkeypatch.setenv("TORCH_LOGS", "+recompiles")
    function(torch.ones(4))
    assert "argument 0 is" in capsys.readouterr().err
    scale[0] = 3.0
    function(torch.ones(3))
    assert "a list of 1 elements has others now" in capsys.readouterr().err


def test_a_long_call_is_one_program():
    def run(x):
        total = x
        for _ in range(1000):
            total = total + x
        return total

    x, compiled = torch.ones(3), torch.compile(run, fullgraph=True)
    assert run(x).tolist() == [1001.0] * 3
    assert replays(lambda: [compiled(x).tolist() for _ in range(CALLS)]) == CALLS - 2
    before = STATISTICS.native_calls
    assert compiled(x).tolist() == [1001.0] * 3 and STATISTICS.native_calls == before + 1


def test_an_error_of_a_replay_leaves_everything_as_it_was():
    table, total = torch.arange(5.0), torch.zeros(2)

    def look(index):
        total.add_(1)
        return table[index] * 2

    compiled = torch.compile(look)
    for _ in range(4):
        assert compiled(torch.tensor([1, 2])).tolist() == [2.0, 4.0]
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(torch.tensor([1, 9]))
    assert compiled(torch.tensor([0, 4])).tolist() == [0.0, 8.0]
    assert total.tolist() in ([5.0, 5.0], [6.0, 6.0])


def test_a_value_that_somebody_else_holds_is_not_written_over():
    weight = torch.ones(3)

    def step(x):
        weight.mul_(2)
        return weight + x

    compiled = torch.compile(step)
    for _ in range(3):
        compiled(torch.ones(3))
    x = torch.ones(3).requires_grad_()
    before = weight.clone()
    pending = (x * weight).sum()
    compiled(torch.ones(3))
    assert before.tolist() == [8.0] * 3 and weight.tolist() == [16.0] * 3
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        pending.backward()


def test_aliases_among_arguments_are_told_apart():
    def run(x, y):
        x.add_(1)
        return x * y

    compiled = torch.compile(run)
    for _ in range(3):
        assert compiled(torch.ones(2), torch.ones(2)).tolist() == [2.0, 2.0]
    x = torch.ones(2)
    assert compiled(x, x).tolist() == [4.0, 4.0]


def test_modules_are_compiled_in_both_ways():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(4, 3)
    expected = model(x).tolist()
    wrapped = torch.compile(model)
    assert isinstance(wrapped, nn.Module) and list(wrapped.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert wrapped.forward is not model.forward and wrapped.eval().training is False and model.training is False

    def run():
        for _ in range(CALLS):
            assert wrapped(x).tolist() == expected

    assert replays(run) == CALLS - 2
    model.compile()
    assert list(copy.deepcopy(model).state_dict()) == ["0.weight", "0.bias"]
    assert replays(lambda: [model(x).tolist() for _ in range(CALLS)]) == CALLS - 2


def test_methods_decorators_and_what_turns_capturing_off():
    class Model:
        def __init__(self):
            self.scale = 2

        @torch.compile(fullgraph=True, dynamic=True, mode="reduce-overhead")
        def double(self, x):
            return x * self.scale

    model, x = Model(), torch.ones(2)
    assert replays(lambda: [model.double(x) for _ in range(CALLS)]) == CALLS - 2
    with torch.compiler.set_stance("force_eager"):
        assert replays(lambda: model.double(x)) == 0
    assert replays(lambda: torch.compiler.disable(lambda: model.double(x))()) == 0
    assert replays(lambda: model.double(x)) == 1
    torch.compiler.reset()
    assert replays(lambda: model.double(x)) == 0
    assert torch.compile(model.double, disable=True) == model.double


OPTIONS = [
    {"backend": "nope"},
    {"mode": "nope"},
    {"mode": "default", "options": {"max_autotune": True}},
    {"options": {"nope": 1}},
    {"dynamic": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_wrong_options_are_torchs_errors(options):
    with pytest.raises(Exception) as theirs:
        oracle.compile(lambda x: x, **options)(oracle.ones(1))
    with pytest.raises((RuntimeError, AssertionError)) as ours:
        torch.compile(lambda x: x, **options)
    assert str(ours.value)[:35] == str(theirs.value)[:35]
