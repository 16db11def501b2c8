"""What modules do besides computing: registration, walking, state dicts, hooks, copies, containers, texts, errors."""

from __future__ import annotations

import collections
import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch as oracle
import torch.nn.utils.prune

import lazytorch


def plain(value: Any) -> Any:
    """Tensors as lists, containers by their parts, everything else as text."""
    if hasattr(value, "detach"):
        return np.asarray(value.detach().numpy(), np.float64).tolist()
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def agree(mine: Any, theirs: Any, what: str = "") -> None:
    """Numbers close, everything else equal."""
    if isinstance(theirs, float):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-5, nan_ok=True), what
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs), what
        agree(list(mine.values()), list(theirs.values()), what)
    elif isinstance(theirs, list):
        assert len(mine) == len(theirs), what
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            agree(a, b, f"{what}[{number}]")
    else:
        assert mine == theirs, what


def net(torch: Any) -> Any:
    """A module with parameters, buffers and submodules, one of them twice."""

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.norm = torch.nn.BatchNorm1d(4)
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))
            self.register_buffer("offset", torch.tensor([0.5]))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)
            self.again = self.first
            self.absent = None

        def forward(self, x: Any, *, double: bool = False) -> Any:
            out = self.norm(self.first(x)) * self.scale + self.offset
            return out * 2 if double else out

    torch.manual_seed(0)
    return Net()


def error_of(action: Any) -> list[str]:
    """The exception an action raises."""
    try:
        action()
    except Exception as error:
        return [type(error).__name__, str(error).replace("lazytorch", "torch")[:75]]
    return ["nothing raised"]


def walking(t: Any) -> Any:
    m = net(t)
    return [
        [name for name, _ in m.named_parameters()], [name for name, _ in m.named_buffers()],
        [name for name, _ in m.named_modules()], [name for name, _ in m.named_children()],
        [name for name, _ in m.named_parameters(prefix="x", remove_duplicate=False)],
        len(list(m.parameters())), len(list(m.modules())), m.get_submodule("first").in_features,
        m.get_parameter("first.weight").shape, m.get_buffer("norm.running_mean").shape,
        error_of(lambda: m.get_submodule("nothing")), error_of(lambda: m.get_parameter("first.nothing")),
        error_of(lambda: m.get_buffer("first.weight")), sum(p.numel() for p in m.parameters()),
    ]  # fmt: skip


def state(t: Any) -> Any:
    m = net(t)
    saved = m.state_dict()
    return [list(saved), plain(saved), dict(saved._metadata), list(m.state_dict(prefix="p.")), list(m.first.state_dict())]


def loading(t: Any) -> Any:
    m = net(t)
    saved = copy.deepcopy(m.state_dict())
    out = [str(m.load_state_dict(saved))]
    wrong = collections.OrderedDict(saved)
    del wrong["scale"]
    wrong["new.weight"] = t.ones(1)
    wrong["offset"] = t.ones(3)
    out += error_of(lambda: m.load_state_dict(wrong))
    wrong["offset"] = t.ones(1) * 7
    out += [str(m.load_state_dict(wrong, strict=False)), plain(m.offset)]
    out += error_of(lambda: m.load_state_dict([1]))
    wrong["offset"] = 3
    out += error_of(lambda: m.load_state_dict(wrong, strict=False))
    taken = t.ones(1) * 9
    m.load_state_dict({**saved, "scale": taken}, assign=True)
    return [*out, plain(m.scale), type(m.scale).__name__, m.scale.requires_grad]


def extra_state(t: Any) -> Any:
    class Counter(t.nn.Module):  # type: ignore[misc]
        count = 3

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    a, b = t.nn.Sequential(Counter()), t.nn.Sequential(Counter())
    a[0].count = 8
    b.load_state_dict(a.state_dict())
    return [list(a.state_dict()), b[0].count, error_of(lambda: b.load_state_dict({}))]


def state_hooks(t: Any) -> Any:
    m, calls = net(t), []
    m.register_state_dict_pre_hook(lambda module, prefix, keep: calls.append(["pre", prefix, keep]))
    m.register_state_dict_post_hook(lambda module, states, prefix, meta: calls.append(["post", len(states)]))
    m.register_load_state_dict_pre_hook(lambda module, states, prefix, *rest: calls.append(["load", len(states), prefix]))
    m.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    m.load_state_dict({name: x for name, x in m.state_dict().items() if name != "scale"})
    return calls


def forward_hooks(t: Any) -> Any:
    m, calls = net(t).eval(), []
    x = t.ones(2, 3)
    handles = [
        m.register_forward_pre_hook(lambda module, inputs: calls.append("pre")),
        m.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,), prepend=True),
        m.register_forward_pre_hook(lambda module, a, k: (a, {**k, "double": True}), with_kwargs=True),
        m.register_forward_hook(lambda module, inputs, out: calls.append(plain(inputs))),
        m.register_forward_hook(lambda module, inputs, out: out + 1),
        m.register_forward_hook(lambda module, a, k, out: calls.append(sorted(k)), with_kwargs=True),
        m.first.register_forward_hook(lambda module, inputs, out: calls.append("inner")),
    ]
    out = [plain(m(x))]
    for handle in handles:
        handle.remove()
    return [*out, plain(m(x)), calls]


def hooks_after_errors(t: Any) -> Any:
    m, calls = net(t), []
    m.register_forward_hook(lambda *given: calls.append("always"), always_call=True)
    m.register_forward_hook(lambda *given: calls.append("only after success"))
    return [error_of(lambda: m(t.ones(2, 5)))[0], calls]


def backward_hooks(t: Any) -> Any:
    m, calls = net(t), []
    m.first.register_full_backward_hook(lambda module, gin, gout: calls.append(["full", plain(gin), plain(gout)]))
    m.first.register_full_backward_pre_hook(lambda module, gout: calls.append(["pre", plain(gout)]))
    m.norm.register_full_backward_hook(lambda module, gin, gout: (gin[0] * 2,))
    x = t.arange(6.0).reshape(2, 3).requires_grad_()
    m.eval()
    (m(x) ** 2).sum().backward()
    return [calls, plain(x.grad), plain(m.first.weight.grad), plain(m.norm.weight.grad)]


def backward_hooks_without_input_gradient(t: Any) -> Any:
    m, calls = t.nn.Linear(2, 2), []
    t.nn.init.ones_(m.weight)
    m.register_full_backward_hook(lambda module, gin, gout: calls.append([plain(gin), plain(gout)]))
    m(t.ones(1, 2)).sum().backward()
    return [calls, plain(m.weight.grad)]


def every_modules_hooks(t: Any) -> Any:
    m, calls = net(t).eval(), []
    module = t.nn.modules.module
    handles = [
        module.register_module_forward_pre_hook(lambda m, inputs: calls.append(["pre", type(m).__name__])),
        module.register_module_forward_hook(lambda m, inputs, out: calls.append(["after", type(m).__name__])),
        module.register_module_full_backward_hook(lambda m, gin, gout: calls.append(["backward", type(m).__name__])),
    ]
    m(t.ones(2, 3, requires_grad=True)).sum().backward()
    for handle in handles:
        handle.remove()
    m(t.ones(2, 3))
    return calls


def copies(t: Any) -> Any:
    m = net(t)
    twin, thawed = copy.deepcopy(m), copy.deepcopy(m)
    twin.first.weight.data.fill_(3.0)
    thawed.scale = t.nn.Parameter(t.tensor([5.0]))
    del thawed.absent
    return [
        plain(m.first.weight), plain(twin.again.weight), twin.again is twin.first, list(twin.state_dict()),
        plain(thawed.scale), [n for n, _ in thawed.named_parameters()], hasattr(thawed, "absent"),
    ]  # fmt: skip


def assignments(t: Any) -> Any:
    m = net(t)
    out = [
        error_of(lambda: setattr(m, "scale", t.ones(1))), error_of(lambda: setattr(m, "first", 3)),
        error_of(lambda: setattr(m, "offset", "x")), error_of(lambda: m.register_buffer("offset.x", None)),
        error_of(lambda: m.register_parameter("first", None)), error_of(lambda: m.register_parameter("", None)),
        error_of(lambda: m.register_parameter("y", t.ones(1))), error_of(lambda: m.add_module("z", 3)),
        error_of(lambda: m.register_parameter("w", t.nn.Parameter(t.ones(1)) * 2)), error_of(lambda: m.nothing),
        error_of(lambda: t.nn.Module()(3)), error_of(lambda: t.nn.Linear(2, 2, whatever=1)),
    ]  # fmt: skip
    m.scale, m.offset = None, None
    m.first = t.nn.Identity()
    m.new = t.nn.Buffer(t.ones(2), persistent=False)
    del m.norm
    return [*out, list(m.state_dict()), [n for n, _ in m.named_buffers()], repr(m)]


def conversions(t: Any) -> Any:
    m = net(t)
    m(t.ones(2, 3)).sum().backward()
    out = [str(m.double().first.weight.dtype), str(m.norm.num_batches_tracked.dtype), str(m.scale.grad.dtype)]
    out += [str(m.half().offset.dtype), str(m.to(t.float32).offset.dtype), str(m.to("cpu").scale.dtype)]
    out += [str(m.to(t.ones(1, dtype=t.float64)).scale.dtype), *error_of(lambda: m.to(t.int32))]
    m.requires_grad_(False)
    return [*out, any(p.requires_grad for p in m.parameters()), m.scale.is_leaf]


def modes(t: Any) -> Any:
    m, seen = net(t), []
    m.apply(lambda module: seen.append(type(module).__name__))
    m.eval()
    m.norm.train()
    m.zero_grad()
    return [seen, m.training, m.norm.training, m.first.training, m.train() is m, error_of(lambda: m.train("yes"))]


def sequences(t: Any) -> Any:
    named = t.nn.Sequential(collections.OrderedDict(a=t.nn.Linear(2, 2), b=t.nn.ReLU()))
    s = t.nn.Sequential(t.nn.Linear(2, 2), t.nn.ReLU())
    s.append(t.nn.Tanh())
    s.insert(1, t.nn.Sigmoid())
    s.extend([t.nn.Identity()])
    out = [repr(named), repr(named[1:]), repr(named.b), repr(s), len(s), repr(s[1:3]), repr(s[-1])]
    del s[0]
    s[0] = t.nn.GELU()
    popped = s.pop(1)
    joined = s + t.nn.Sequential(t.nn.ELU())
    out += [repr(s), repr(popped), repr(joined), repr(s * 2), error_of(lambda: s[9]), error_of(lambda: s * 0)]
    many = t.nn.ModuleList([t.nn.Linear(2, 2) for _ in range(3)])
    many.append(t.nn.ReLU())
    many.insert(0, t.nn.Tanh())
    many += [t.nn.ReLU()]
    out += [repr(many), len(many), repr(many[1:3]), list(many.state_dict()), repr(t.nn.ModuleList()), repr(many.pop(-1))]
    del many[1:3]
    return [*out, repr(many), list(many.state_dict()), error_of(lambda: many[7])]


def dictionaries(t: Any) -> Any:
    d = t.nn.ModuleDict({"a": t.nn.Linear(2, 3), "b": t.nn.ReLU()})
    d["c"] = t.nn.Tanh()
    d.update([("d", t.nn.Identity())])
    out = [repr(d), list(d), "a" in d, len(d), [n for n, _ in d.items()], repr(d.pop("b")), list(d.keys())]
    del d["c"]
    out += [repr(list(d.values())), error_of(lambda: d["z"]), error_of(lambda: d.update(3))]
    d.clear()
    return [*out, repr(d)]


def parameter_containers(t: Any) -> Any:
    listed = t.nn.ParameterList([t.ones(2), t.nn.Parameter(t.zeros(1, 3)), "text"])
    listed.append(t.ones(1))
    listed[0] = t.zeros(2)
    named = t.nn.ParameterDict({"b": t.ones(2), "a": t.nn.Parameter(t.ones(1))})
    named["c"] = t.zeros(3)
    named.update({"d": t.ones(1)})
    out = [repr(listed), len(listed), list(listed.state_dict()), plain(listed[1:3]), plain(listed[-1]), listed[2]]
    out += [repr(named), list(named), list(named.state_dict()), "a" in named, plain(named.get("z", 4))]
    out += [plain(named.pop("a")), list(named.keys()), len(named | t.nn.ParameterDict({"q": t.ones(1)}))]
    return [*out, repr(t.nn.ParameterList()), error_of(lambda: listed()), error_of(lambda: listed[9])]


def clipping(t: Any) -> Any:
    m = net(t)

    def gradients() -> None:
        m.zero_grad()
        (m(t.arange(6.0).reshape(2, 3)) ** 2).sum().backward()

    out = []
    for options in ({"max_norm": 0.5}, {"max_norm": 100.0}, {"max_norm": 0.3, "norm_type": float("inf")}):
        gradients()
        out.append([plain(t.nn.utils.clip_grad_norm_(m.parameters(), **options)), plain(m.scale.grad)])
    gradients()
    t.nn.utils.clip_grad_value_(m.parameters(), 0.01)
    out.append(plain(m.scale.grad))
    m.scale.grad.fill_(float("nan"))
    out.append(error_of(lambda: t.nn.utils.clip_grad_norm_(m.parameters(), 1.0, error_if_nonfinite=True)))
    vector = t.nn.utils.parameters_to_vector(m.parameters())
    t.nn.utils.vector_to_parameters(vector * 2, m.parameters())
    return [*out, plain(vector), plain(m.scale)]


def weight_norms(t: Any) -> Any:
    out: list[Any] = []
    for wrap, unwrap in (("weight_norm", "remove_weight_norm"), ("spectral_norm", "remove_spectral_norm")):
        t.manual_seed(4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            m = getattr(t.nn.utils, wrap)(t.nn.Conv1d(2, 3, 2))
        x = t.randn(2, 2, 4)
        m(x).sum().backward()
        out += [list(m.state_dict()), plain(m.state_dict()), plain([p.grad for p in m.parameters()])]
        m.eval()
        m = getattr(t.nn.utils, unwrap)(m)
        out += [list(m.state_dict()), plain(m(x))]
    return out


def parametrizations(t: Any) -> Any:
    class Symmetric(t.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x: Any) -> Any:
            return x.triu()

    p = t.nn.utils.parametrize
    m = t.nn.Linear(3, 3)
    t.nn.init.constant_(m.weight, 0.25)
    p.register_parametrization(m, "weight", Symmetric())
    m(t.ones(1, 3)).sum().backward()
    out = [repr(m), list(m.state_dict()), plain(m.weight), plain(m.parametrizations.weight.original.grad)]
    m.weight = t.eye(3)
    with p.cached():
        out += [m.weight is m.weight, p.is_parametrized(m, "weight"), p.is_parametrized(m, "bias")]
    twin = copy.deepcopy(m)
    p.remove_parametrizations(m, "weight")
    out += [repr(m), plain(m.weight), p.is_parametrized(m), repr(twin), list(twin.state_dict())]
    for name in ("weight_norm", "spectral_norm"):
        t.manual_seed(4)
        wrapped = getattr(t.nn.utils.parametrizations, name)(t.nn.Linear(3, 2))
        wrapped(t.ones(1, 3)).sum().backward()
        out += [repr(wrapped), plain(wrapped.state_dict()), plain([x.grad for x in wrapped.parameters()])]
    return [*out, error_of(lambda: p.register_parametrization(m, "nothing", Symmetric()))]


def pruning(t: Any) -> Any:
    prune, out = t.nn.utils.prune, []
    for name, options in (
        ("l1_unstructured", {"amount": 4}), ("random_unstructured", {"amount": 0.3}),
        ("ln_structured", {"amount": 1, "n": 2, "dim": 0}), ("random_structured", {"amount": 1, "dim": 1}),
    ):  # fmt: skip
        t.manual_seed(2)
        m = t.nn.Linear(4, 3)
        getattr(prune, name)(m, "weight", **options)
        m(t.ones(1, 4)).sum().backward()
        out += [list(m.state_dict()), plain(m.weight), plain(m.weight_orig.grad)]
        prune.l1_unstructured(m, "weight", amount=2)
        hook = next(iter(m._forward_pre_hooks.values()))
        out += [plain(m.weight_mask), len(hook[0] if isinstance(hook, tuple) else hook), prune.is_pruned(m)]
        prune.remove(m, "weight")
        out += [list(m.state_dict()), prune.is_pruned(m)]
    t.manual_seed(5)
    a, b = t.nn.Linear(2, 2), t.nn.Linear(2, 3)
    prune.global_unstructured([(a, "weight"), (b, "weight")], pruning_method=prune.L1Unstructured, amount=0.5)
    return [*out, plain(a.weight), plain(b.weight), error_of(lambda: prune.remove(a, "bias"))]


def sequences_of_lengths(t: Any) -> Any:
    r = t.nn.utils.rnn
    x = t.arange(24.0).reshape(4, 3, 2)
    packed = r.pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
    lists = [t.arange(3.0), t.arange(1.0), t.arange(2.0)]
    out = [plain(list(packed)), plain(r.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0, total_length=5))]
    out += [
        plain(r.pad_sequence(lists, batch_first=True, padding_value=9.0)),
        plain(r.pad_sequence(lists, padding_side="left")),
    ]
    out += [plain(r.unpad_sequence(r.pad_sequence(lists), t.tensor([3, 1, 2]))), plain(list(r.pack_sequence(lists, False)))]
    out += [error_of(lambda: r.pack_padded_sequence(x, [2, 4, 1])), error_of(lambda: r.pack_padded_sequence(x, [0, 0, 0]))]
    return [*out, error_of(lambda: r.pack_padded_sequence(x, [4, 1])), plain(r.unpack_sequence(packed))]


SCENES = [
    walking, state, loading, extra_state, state_hooks, forward_hooks, hooks_after_errors, backward_hooks,
    backward_hooks_without_input_gradient, every_modules_hooks, copies, assignments, conversions, modes, sequences,
    dictionaries, parameter_containers, clipping, weight_norms, parametrizations, pruning, sequences_of_lengths,
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_scene_plays_as_in_torch(scene: Any) -> None:
    agree(plain(scene(lazytorch)), plain(scene(oracle)))


def test_a_module_survives_pickling() -> None:
    m = lazytorch.nn.Sequential(lazytorch.nn.Linear(3, 2), lazytorch.nn.BatchNorm1d(2))
    again = pickle.loads(pickle.dumps(m))
    assert repr(again) == repr(m)
    again[0].weight = lazytorch.nn.Parameter(lazytorch.ones(2, 3))
    assert again[0]._parameters["weight"] is again[0].weight
    assert plain(again[0].bias) == plain(m[0].bias)
