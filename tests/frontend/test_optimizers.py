"""Optimizers and learning rate schedules: the same parameters, states and rates as torch's, step by step."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch as oracle

import lazytorch

OPTIMIZERS = [
    "SGD(p, lr=0.1)", "SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)", "SGD(p, lr=0.1, momentum=0.9, nesterov=True)",
    "SGD(p, 0.01, 0.5, 0.3, maximize=True, foreach=True)", "SGD(p, 0.1, momentum=0.9, fused=True, differentiable=False)",
    "SGD([{'params': p[:1], 'lr': 0.5, 'momentum': 0.3}, {'params': p[1:]}], lr=0.1)",
    "Adam(p)", "Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)", "Adam(p, amsgrad=True, maximize=True)",
    "Adam(p, amsgrad=True, weight_decay=0.1, decoupled_weight_decay=True, foreach=True)", "Adam(p, fused=True)",
    "AdamW(p, 0.01)", "AdamW(p, 1e-2, (0.8, 0.9), 1e-6, 0.1, True, maximize=True)", "RMSprop(p)",
    "RMSprop(p, lr=0.05, momentum=0.8)", "RMSprop(p, alpha=0.9, centered=True, weight_decay=0.1)",
    "RMSprop(p, momentum=0.5, centered=True, maximize=True, foreach=True)", "Adagrad(p)",
    "Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5)", "Adagrad(p, maximize=True)",
    "Adadelta(p)", "Adadelta(p, lr=0.5, rho=0.8, weight_decay=0.1, maximize=True)", "Adamax(p)",
    "Adamax(p, lr=0.1, weight_decay=0.1, maximize=True)", "NAdam(p)", "NAdam(p, 0.1, weight_decay=0.1, momentum_decay=0.1)",
    "NAdam(p, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)", "RAdam(p)", "RAdam(p, 0.1, (0.5, 0.6))",
    "RAdam(p, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)", "Rprop(p)",
    "Rprop(p, lr=0.1, etas=(0.3, 2), step_sizes=(1e-3, 0.2), maximize=True)", "ASGD(p)",
    "ASGD(p, lr=0.1, lambd=0.01, alpha=0.5, t0=20, weight_decay=0.1, maximize=True)", "Adafactor(p)",
    "Adafactor(p, 0.1, beta2_decay=-0.5, eps=(1e-4, 1e-2), d=1.5, weight_decay=0.1, maximize=True)", "SparseAdam(p)",
    "SparseAdam(p, lr=0.1, betas=(0.5, 0.6), maximize=True)", "Muon([p[0], p[2]])",
    "Muon([p[0], p[2]], 0.1, 0.0, 0.5, False, adjust_lr_fn='match_rms_adamw')",
]  # fmt: skip


def problem(torch: Any, double: bool = False) -> tuple[list[Any], Any]:
    """Parameters and a loss of them."""
    torch.manual_seed(3)
    parameters = [torch.nn.Parameter(torch.randn(*shape)) for shape in ((4, 3), (4,), (2, 4))]
    x, y = torch.randn(7, 3), torch.randn(7, 2)
    if double:
        parameters = [torch.nn.Parameter(p.detach().double()) for p in parameters]
        x, y = x.double(), y.double()

    def loss() -> Any:
        hidden = (x @ parameters[0].t() + parameters[1]).tanh()
        return ((hidden @ parameters[2].t() - y) ** 2).mean()

    return parameters, loss


def made(torch: Any, text: str, parameters: Any) -> Any:
    """An optimizer from its text."""
    name, _, rest = text.partition("(")
    return eval(f"optimizer({rest}", {"optimizer": getattr(torch.optim, name), "p": parameters})


def run(torch: Any, text: str, steps: int) -> tuple[Any, list[Any], Any]:
    """The optimizer and parameters after some steps, and the optimizer's text."""
    parameters, loss = problem(torch)
    optimizer = made(torch, text, parameters)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return optimizer, parameters, loss


def numbers(value: Any) -> Any:
    """A state dict's tensors as arrays."""
    if isinstance(value, dict):
        return {name: numbers(entry) for name, entry in value.items()}
    return value.detach().numpy() if hasattr(value, "detach") else value


def agree(mine: Any, theirs: Any, what: str) -> None:
    """Arrays close, everything else equal."""
    if isinstance(theirs, dict):
        assert sorted(map(str, mine)) == sorted(map(str, theirs)), what
        for name, entry in theirs.items():
            agree(mine[name], entry, f"{what}/{name}")
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-6, err_msg=what)
    else:
        assert mine == theirs, what


def gradient(step: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of either sign; now and then a row of zeros, which SparseAdam leaves alone."""
    found = np.random.default_rng(1000 * number + step).standard_normal(shape).astype(np.float32)
    found[step % 2 :: 3] = 0
    return found


def follow(torch: Any, text: str, optimizer: Any, parameters: list[Any], steps: range) -> None:
    """Steps by given gradients: what differs is the optimizer's doing, not that of a loss near its minimum."""
    for step in steps:
        for number, parameter in enumerate(parameters):
            given = torch.tensor(gradient(step, number, tuple(parameter.shape)))
            parameter.grad = given.to_sparse() if "Sparse" in text and torch is oracle else given
        optimizer.step()


def carried(torch: Any, value: Any) -> Any:
    """A state dict with the tensors of another library."""
    if isinstance(value, dict):
        return {name: carried(torch, entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [carried(torch, entry) for entry in value]
    return torch.tensor(value.detach().numpy().copy()) if hasattr(value, "detach") else value


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_an_optimizer_makes_torchs_steps_and_both_load_each_others_states(text: str) -> None:
    (parameters, _), (theirs, _) = problem(lazytorch), problem(oracle)
    mine, reference = made(lazytorch, text, parameters), made(oracle, text, theirs)
    assert repr(mine) == repr(reference)
    follow(lazytorch, text, mine, parameters, range(60))
    follow(oracle, text, reference, theirs, range(60))
    own, saved = mine.state_dict(), reference.state_dict()
    agree(numbers(own["state"]), numbers(saved["state"]), "state")
    assert own["param_groups"] == saved["param_groups"]
    mine, reference = made(lazytorch, text, parameters), made(oracle, text, theirs)
    mine.load_state_dict(carried(lazytorch, saved))
    reference.load_state_dict(carried(oracle, own))
    follow(lazytorch, text, mine, parameters, range(60, 100))
    follow(oracle, text, reference, theirs, range(60, 100))
    tolerance = 1e-2 if "Muon" in text else 1e-5  # Muon rounds to bfloat16 what may be a unit of float32 apart
    for a, b in zip(parameters, theirs, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("text", ["SGD(p, lr=0.1, momentum=0.9)", "Adam(p)", "NAdam(p)", "ASGD(p, t0=1)", "Rprop(p)"])
def test_a_loaded_state_continues_where_it_was_saved(text: str) -> None:
    whole = run(lazytorch, text, 6)[1]
    optimizer, parameters, _ = run(lazytorch, text, 3)
    state, values = copy.deepcopy(optimizer.state_dict()), [numbers(p).copy() for p in parameters]
    parameters, loss = problem(lazytorch)
    fresh = made(lazytorch, text, parameters)
    fresh.load_state_dict(state)
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = lazytorch.tensor(value)
    for _ in range(3):
        fresh.zero_grad()
        loss().backward()
        fresh.step()
    for a, b in zip(parameters, whole, strict=True):
        assert np.array_equal(numbers(a), numbers(b))


@pytest.mark.parametrize("options", [{}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.5, "history_size": 3, "max_iter": 7}])
def test_lbfgs_minimises_as_torchs(options: dict[str, Any]) -> None:
    values = []
    for torch in (lazytorch, oracle):
        parameters, loss = problem(torch, double=True)
        optimizer = torch.optim.LBFGS(parameters, **options)

        def closure(optimizer: Any = optimizer, loss: Any = loss) -> Any:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        values.append(
            [float(optimizer.step(closure)) for _ in range(3)] + [optimizer.state_dict()["state"][0]["func_evals"]]
        )
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


def test_wrong_parameters_are_refused_as_by_torch() -> None:
    messages = []
    for torch in (lazytorch, oracle):
        p = torch.nn.Parameter(torch.ones(2))
        found = []
        for bad in ([], [3], [p * 2], [{"params": [p]}, {"params": [p]}]):
            with pytest.raises((ValueError, TypeError)) as raised:
                torch.optim.SGD(bad, lr=0.1)
            found.append((type(raised.value), str(raised.value)))
        for options in ({"lr": -1.0}, {"betas": (1.0, 0.9)}, {"eps": -1.0}):
            with pytest.raises(ValueError) as raised:
                torch.optim.Adamax([p], **options)
            found.append((type(raised.value), str(raised.value)))
        messages.append(found)
    assert messages[0] == messages[1]


def test_hooks_and_closures_and_custom_optimizers() -> None:
    class Descent(lazytorch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.5})

        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                    p.data.add_(p.grad, alpha=-group["lr"])

    p = lazytorch.nn.Parameter(lazytorch.ones(2))
    optimizer, calls = Descent([p]), []
    optimizer.register_step_pre_hook(lambda *given: calls.append("before"))
    handle = optimizer.register_step_post_hook(lambda *given: calls.append("after"))
    (p**2).sum().backward()
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert calls == ["before", "after", "before"]
    assert p.tolist() == [-1.0, -1.0]
    assert optimizer.state[p]["seen"] == 2


SCHEDULERS = [
    "LambdaLR(o, lambda e: 0.9**e)", "MultiplicativeLR(o, lambda e: 0.95)", "StepLR(o, 3)", "MultiStepLR(o, [2, 5, 5], 0.3)",
    "ConstantLR(o, 0.5, 4)", "LinearLR(o, 0.2, 0.9, 6)", "ExponentialLR(o, 0.8)", "PolynomialLR(o, 7, 2.0)",
    "CosineAnnealingLR(o, 5, 0.01)", "CosineAnnealingWarmRestarts(o, 3, 2)", "CyclicLR(o, 0.01, 0.1, 3, 2)",
    "CyclicLR(o, 0.01, 0.1, 3, mode='triangular2')", "CyclicLR(o, 0.01, 0.1, 3, mode='exp_range', gamma=0.9)",
    "CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 0.5 / x)", "OneCycleLR(o, 0.4, 15)",
    "OneCycleLR(o, [0.4, 0.2], epochs=5, steps_per_epoch=3, three_phase=True, anneal_strategy='linear')",
    "ChainedScheduler([ConstantLR(o, 0.1, 2), ExponentialLR(o, 0.9)])",
    "SequentialLR(o, [LinearLR(o, 0.1), ExponentialLR(o, 0.9), StepLR(o, 2)], [4, 8])",
]  # fmt: skip


def scheduled(torch: Any, text: str, name: str) -> tuple[Any, Any]:
    """A scheduler and its optimizer with two groups."""
    parameters = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}]
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(groups, lr=0.05, **options)
    return eval(text, {"o": optimizer, **vars(torch.optim.lr_scheduler)}), optimizer


def options_of(optimizer: Any) -> list[Any]:
    """What schedules change."""
    return [[group[name] for name in ("lr", "momentum", "betas") if name in group] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("text", SCHEDULERS)
def test_a_schedule_sets_torchs_rates(text: str, name: str) -> None:
    traces = []
    for torch in (lazytorch, oracle):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler, optimizer = scheduled(torch, text, name)
            trace = [options_of(optimizer)]
            for _ in range(13):
                optimizer.step()
                scheduler.step()
                trace.append(
                    (options_of(optimizer), scheduler.get_last_lr(), scheduler.last_epoch if "Ch" not in text else 0)
                )
        traces.append(trace)
    assert traces[0] == traces[1]


@pytest.mark.parametrize("text", SCHEDULERS)
def test_a_schedule_continues_from_its_state_dict(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (first, before), (second, after) = (scheduled(lazytorch, text, "SGD") for _ in range(2))
        for _ in range(5):
            first.step()
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        after.load_state_dict(before.state_dict())
        for _ in range(5):
            first.step()
            second.step()
    assert options_of(before) == options_of(after)


def test_a_plateau_lowers_the_rate_as_in_torch() -> None:
    metrics = [3.0, 2.0, 2.0, 2.1, 2.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for options in ({"patience": 1}, {"patience": 0, "cooldown": 2, "min_lr": [0.01, 0.02]}, {"mode": "max", "patience": 2}):
        traces = []
        for torch in (lazytorch, oracle):
            _, optimizer = scheduled(torch, "StepLR(o, 3)", "SGD")
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
            trace = []
            for metric in metrics:
                scheduler.step(torch.tensor(metric))
                trace.append([*options_of(optimizer), scheduler.num_bad_epochs, scheduler.best])
            traces.append(trace)
        assert traces[0] == traces[1]


def test_stepping_a_schedule_first_gives_torchs_warning() -> None:
    texts = []
    for torch in (lazytorch, oracle):
        scheduler, _ = scheduled(torch, "StepLR(o, 3)", "SGD")
        with pytest.warns(UserWarning) as caught:
            scheduler.step()
        texts.append(str(caught[0].message))
    assert texts[0] == texts[1]


def test_averaged_models_and_swa_rates_agree() -> None:
    results = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        mean = torch.optim.swa_utils.AveragedModel(model)
        moving = torch.optim.swa_utils.AveragedModel(model, avg_fn=torch.optim.swa_utils.get_ema_avg_fn(0.9))
        schedule = torch.optim.swa_utils.SWALR(optimizer, 0.02, anneal_epochs=3)
        x, rates = torch.randn(10, 3), []
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            mean.update_parameters(model)
            moving.update_parameters(model)
            schedule.step()
            rates.append(schedule.get_last_lr()[0])
        torch.optim.swa_utils.update_bn([x, x * 2], mean)
        results.append((rates, numbers(dict(mean.state_dict())), numbers(dict(moving.state_dict()))))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    for mine, theirs in zip(results[0][1:], results[1][1:], strict=True):
        agree(mine, theirs, "average")


def test_a_sparse_embedding_trains_as_torchs() -> None:
    """torch's gradient is sparse, ours dense with a warning; the numbers and SparseAdam's steps are the same."""
    tables = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(0)
        layer = torch.nn.Embedding(7, 3, sparse=True)
        optimizer = torch.optim.SparseAdam(layer.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                rows = layer(torch.tensor([step, 2, step]))
            assert [str(each.message).partition(":")[0] for each in caught] == ["embedding(sparse=True)"] * (
                torch is lazytorch
            )
            (rows**2).sum().backward()
            optimizer.step()
        tables.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-5, atol=1e-6)


def test_averages_of_lists_of_parameters_agree() -> None:
    found = []
    for torch in (lazytorch, oracle):
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 2)
        averages = [
            torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=function)
            for function in (torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), torch.optim.swa_utils.get_swa_multi_avg_fn())
        ]
        for _ in range(3):
            with torch.no_grad():
                model.weight.mul_(1.5)
            for average in averages:
                average.update_parameters(model)
        found.append([average.module.weight.detach().numpy() for average in averages])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
