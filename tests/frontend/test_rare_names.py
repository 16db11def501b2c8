"""Names that few programs use: lazy modules, functions of lists, recurrent layers as functions, and what is missing."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.config import config
from lazytorch.tools.check import missing_names

LAYERS: list[tuple[str, tuple[int, ...]]] = [
    ("LazyLinear(3)", (2, 5)),
    ("LazyLinear(3, bias=False)", (5,)),
    ("LazyConv1d(4, 3, stride=2)", (2, 3, 9)),
    ("LazyConv2d(4, 3, padding=1, groups=2)", (2, 4, 5, 5)),
    ("LazyConv3d(2, 2, bias=False)", (1, 2, 3, 3, 3)),
    ("LazyConv2d(4, 3)", (3, 5, 5)),
    ("LazyConvTranspose1d(2, 3)", (2, 3, 4)),
    ("LazyConvTranspose2d(2, 3, 2)", (2, 3, 4, 4)),
    ("LazyBatchNorm1d()", (4, 3)),
    ("LazyBatchNorm2d(momentum=0.5)", (4, 3, 2, 2)),
    ("LazyBatchNorm3d(affine=False)", (4, 3, 2, 2, 2)),
    ("LazyInstanceNorm2d()", (4, 3, 2, 2)),
    ("CrossMapLRN2d(3, 0.5)", (2, 7, 2, 2)),
    ("CrossMapLRN2d(4, 0.5, 0.5, 2.0)", (2, 7, 2, 2)),
    ("CrossMapLRN2d(9)", (2, 3, 2, 2)),
]


@pytest.mark.parametrize(("text", "shape"), LAYERS)
def test_layers_that_find_out_their_sizes_are_torchs(text: str, shape: tuple[int, ...]) -> None:
    def run(library: Any) -> list[Any]:
        library.manual_seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = eval(text, vars(library.nn))
        before = repr(module)
        x = library.randn(shape)
        y = module(x)
        parameters = list(module.parameters())
        if parameters:
            y.square().sum().backward()
        arrays = [y, *parameters, *[p.grad for p in parameters], *module.buffers()]
        return [before, repr(module), list(module.state_dict()), *[a.detach().numpy() for a in arrays]]

    with config(interpret=True):
        got = run(lt)
    for ours, theirs in zip(got, run(torch), strict=True):
        if isinstance(theirs, np.ndarray):
            np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)
        else:
            assert ours == theirs


def test_a_lazy_module_takes_its_sizes_from_a_state_dict() -> None:
    layer = lt.nn.LazyLinear(3)
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        _ = layer.weight.shape
    layer.load_state_dict(lt.nn.Linear(4, 3).state_dict())
    assert layer.weight.shape == (3, 4)
    assert type(layer) is lt.nn.LazyLinear
    layer(lt.ones(2, 4))
    assert type(layer) is lt.nn.Linear


def test_an_embedding_scales_gradients_by_frequency_as_torch() -> None:
    gradients = []
    for library in (lt, torch):
        table = library.arange(10.0).reshape(5, 2).requires_grad_()
        rows = library.nn.functional.embedding(library.tensor([[1, 1, 3], [1, 0, 3]]), table, scale_grad_by_freq=True)
        (rows**2).sum().backward()
        gradients.append(table.grad.numpy())
    np.testing.assert_allclose(*gradients)


LISTS = [
    "_foreach_add(a, 1.5)",
    "_foreach_add(a, b, alpha=2)",
    "_foreach_sub(a, b)",
    "_foreach_mul(a, [2.0, 3.0])",
    "_foreach_div(a, t.tensor(2.0))",
    "_foreach_pow(a, 2)",
    "_foreach_maximum(a, 1.5)",
    "_foreach_clamp_max(a, b)",
    "_foreach_lerp(a, b, 0.3)",
    "_foreach_addcdiv(a, b, a, 2.0)",
    "_foreach_addcmul(a, b, a, value=0.5)",
    "_foreach_addcmul(a, b, a, [1.0, 2.0])",
    "_foreach_norm(a)",
    "_foreach_norm(a, 1)",
    "_foreach_sqrt(a)",
    "_foreach_neg(a)",
    "_foreach_mul_(a, 2.0)",
    "_foreach_addcdiv_(a, b, a, -0.5)",
    "_foreach_clamp_min_(a, 1.5)",
    "_foreach_zero_(a)",
    "_foreach_copy_(a, b)",
]


@pytest.mark.parametrize("text", LISTS)
def test_functions_of_lists_are_torchs(text: str) -> None:
    found = []
    for library in (lt, torch):
        a, b = ([library.linspace(0.5 + k, 2.5, n) for n in (2, 3)] for k in (0, 1))
        with config(interpret=True):
            outcome = eval(f"t.{text}", {"t": library, "a": a, "b": b})
            found.append([type(outcome), [x.tolist() for x in (a if outcome is None else outcome)]])
    assert found[0][0] is found[1][0]
    for got, want in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(got, want, 1e-6)


GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("packed", [False, True])
def test_recurrent_layers_as_functions_are_torchs(name: str, packed: bool) -> None:
    gates = GATES[name]

    def run(library: Any) -> list[np.ndarray]:
        library.manual_seed(0)
        shapes = [(gates * 4, 3), (gates * 4, 4), (gates * 4,), (gates * 4,)]
        params = [library.randn(shape) for _ in range(2) for shape in shapes]
        hidden = library.zeros(2, 2, 4)
        hx = (hidden, hidden) if name == "lstm" else hidden
        x = library.randn(5, 3) if packed else library.randn(2, 3, 3)
        inputs = (x, library.tensor([2, 2, 1])) if packed else (x,)
        last = () if packed else (True,)
        outcome = getattr(library, name)(*inputs, hx, params, True, 1, 0.0, False, True, *last)
        cell = getattr(library, f"{name}_cell")(
            library.randn(2, 3), (hidden[0],) * 2 if name == "lstm" else hidden[0], *params[:4]
        )
        return [y.numpy() for y in (*outcome, *(cell if name == "lstm" else (cell,)))]

    with config(interpret=True):
        got = run(lt)
    for ours, theirs in zip(got, run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


def test_distributed_computing_says_that_it_is_not_there() -> None:
    assert not lt.distributed.is_available() and not lt.distributed.is_initialized()
    with pytest.raises(AttributeError, match="runs in one process"):
        lt.distributed.init_process_group("gloo")
    with pytest.raises(NotImplementedError, match="state_dict"):
        lt.onnx.export(None, None, "model.onnx")
    with pytest.raises(NotImplementedError, match="clone the repository"):
        lt.hub.load("pytorch/vision", "resnet18")


def test_weights_are_downloaded_once_and_checked(tmp_path: Path) -> None:
    source = tmp_path / "net-0000.pth"
    lt.save({"w": lt.ones(2)}, source)
    url = source.as_uri()
    found = lt.hub.load_state_dict_from_url(url, model_dir=str(tmp_path / "kept"))
    assert found["w"].tolist() == [1.0, 1.0]
    source.unlink()
    assert lt.hub.load_state_dict_from_url(url, model_dir=str(tmp_path / "kept"))["w"].tolist() == [1.0, 1.0]
    lt.save({}, source)
    with pytest.raises(RuntimeError, match="invalid hash value"):
        lt.hub.load_state_dict_from_url(url, model_dir=str(tmp_path / "other"), check_hash=True)


def test_multiprocessing_is_pythons_own_with_a_spawn() -> None:
    assert lt.multiprocessing.Process is multiprocessing.Process
    assert lt.multiprocessing.get_sharing_strategy() == "file_system"


SCRIPT = """
import torch
import torch.nn as nn
from torch import optim as o
from torch.utils.data import DataLoader
from torch.nonsense import nothing

model = nn.Sequential(nn.Linear(2, 3), nn.Relu())
optimizer = o.Adam(model.parameters())
torch.nn.functional.relu(torch.zeros(2)).foo
torch.quantize_everything(model)
if torch.distributed.is_available():
    torch.distributed.barrier()
"""


def test_names_that_a_script_needs_and_lazytorch_lacks_are_found_without_running_it() -> None:
    assert [tuple(missing) for missing in missing_names(SCRIPT)] == [
        (6, "torch.nonsense"),
        (6, "torch.nonsense.nothing"),
        (8, "torch.nn.Relu"),
        (11, "torch.quantize_everything"),
        (13, "torch.distributed.barrier"),
    ]


def test_hooks_on_saved_values_are_called_and_what_they_give_back_is_read_as_in_torch() -> None:
    def run(library: Any) -> list[Any]:
        packed: list[Any] = []

        def pack(x: Any) -> Any:
            packed.append(tuple(x.shape))
            return x * 2

        x, w = (library.linspace(-1.0, 1.0, n).reshape(shape).requires_grad_() for n, shape in ((12, (3, 4)), (20, (4, 5))))
        with library.autograd.graph.saved_tensors_hooks(pack, lambda x: x / 2):
            y = (x @ w).tanh()
            z = (y * y).sum()
            before = z.item()  # a sync within the block
            z = z + (x.exp() * 3.0).sum()
        z.backward()
        v = library.ones(3, requires_grad=True)
        with library.autograd.graph.saved_tensors_hooks(lambda x: "kept", lambda name: library.full((3,), 7.0)):
            squares = v * v
        squares.sum().backward()
        return [sorted(packed), before, x.grad.numpy(), w.grad.numpy(), v.grad.numpy()]

    for got, want in zip(run(lt), run(torch), strict=True):
        if isinstance(want, list):
            assert got == want
        else:
            np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def test_hooks_on_saved_values_can_be_forbidden() -> None:
    hooks = lt.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with lt.autograd.graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        hooks.__enter__()


@pytest.mark.parametrize("mode", ["all", "any"])
def test_a_hook_on_several_gradients_is_called_as_torchs(mode: str) -> None:
    found = []
    for library in (lt, torch):
        a, b = library.ones(2, requires_grad=True), library.ones(2, requires_grad=True)
        calls: list[Any] = []
        handle = library.autograd.graph.register_multi_grad_hook([a, b], calls.append, mode=mode)
        ((a * 2).sum() + (b * 3).sum()).backward()
        handle.remove()
        (a.sum() + b.sum()).backward()
        found.append([[x.tolist() for x in call] if mode == "all" else len(calls) for call in calls])
    assert found[0] == found[1]


def test_hooks_on_saved_values_count_although_the_same_graph_was_walked_before() -> None:
    def gradient(value: float | None) -> list[float]:
        x = lt.ones(3, requires_grad=True)
        if value is None:
            y = x * x
        else:
            with lt.autograd.graph.saved_tensors_hooks(lambda x: None, lambda _: lt.full((3,), value)):
                y = x * x
        y.sum().backward()
        found: list[float] = x.grad.tolist()
        return found

    assert [gradient(v)[0] for v in (None, None, None, 7.0, None, 5.0)] == [2.0, 2.0, 2.0, 14.0, 2.0, 10.0]


def test_a_profiler_times_named_blocks_and_programs(tmp_path: Path) -> None:
    with lt.profiler.profile(activities=[lt.profiler.ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(3):
            with lt.profiler.record_function("step"):
                lt.ones(4).sum().item()
    averages = {average.key: average for average in profiler.key_averages()}
    assert {key: average.count for key, average in averages.items()} == {"step": 3, "program: item()": 3}
    step = averages["step"]
    assert 0 < step.self_cpu_time_total < step.cpu_time_total
    assert step.cpu_time_total >= averages["program: item()"].cpu_time_total
    table = profiler.key_averages().table(sort_by="cpu_time_total", row_limit=1)
    assert "# of Calls" in table and "step" in table and "program" not in table
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    assert (tmp_path / "trace.json").read_text().count('"ph": "X"') == 6
    lt.ones(2).sum().item()
    assert len(profiler.events()) == 6


def test_a_profiler_follows_its_schedule_as_torchs() -> None:
    steps = []
    for library in (lt, torch):
        action = library.profiler.schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
        steps.append([action(step).name for step in range(11)])
    assert steps[0] == steps[1]
    handed: list[int] = []
    action = lt.profiler.schedule(wait=1, warmup=0, active=2)
    with lt.profiler.profile(schedule=action, on_trace_ready=lambda p: handed.append(len(p.events()))) as profiler:
        for _ in range(7):
            lt.ones(2).sum().item()
            profiler.step()
    assert handed == [2, 2]
    assert lt.autograd.profiler.profile is lt.profiler.profile


def test_names_of_the_implementation_that_programs_use() -> None:
    assert lt._C._LinAlgError is lt.linalg.LinAlgError
    with pytest.raises(NotImplementedError, match="use the module itself"):
        lt.nn.parallel.DistributedDataParallel(lt.nn.Linear(2, 2))


def test_what_is_loaded_later_is_announced():
    """The list in loading.py against what the modules attach, in a process that loaded none of them."""
    code = """
import importlib, lazytorch
from lazytorch import loading
Tensor = lazytorch.Tensor
for module, names in loading.METHODS.items():
    assert f"lazytorch.ops.{module}" not in importlib.sys.modules, module
before = set(vars(Tensor))
assert lazytorch.ones(3).cumsum(0).tolist() == [1, 2, 3] and "lazytorch.ops.sorting" not in importlib.sys.modules
assert lazytorch.sort is lazytorch.ops.recording.FUNCTIONS["sort"]
print(sorted(set(vars(Tensor)) - before), [n for n, x in vars(Tensor).items() if type(x) is loading.Later])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] []\n"
