"""Random small networks, trained by both libraries from the same weights: same losses, weights and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch as oracle
from hypothesis import strategies as st

import lazytorch

STEPS = 3
TOLERANCE = (1e-6, 1e-7)
"""Relative to each number, and to the largest of a tensor, in float64."""
ROUNDING = 1e-5
"""Relative to the largest number, in float32: what differs by more must not be more than ten times as far as torch from what
float64 gives."""


@dataclass(frozen=True)
class Training:
    """A training run: layers, loss and optimizer as text over `t`, and what the input is."""

    shape: tuple[int, ...]
    layers: tuple[str, ...]
    loss: str
    optimizer: str
    classes: int = 0
    tokens: int = 0
    dtype: str = "float64"

    def __repr__(self) -> str:
        lines = "".join(f"\n    {layer}" for layer in self.layers)
        kind = f"of {self.tokens} tokens" if self.tokens else self.dtype
        return f"input {list(self.shape)} {kind}{lines}\n    {self.loss}\n    {self.optimizer}"


def train(t: Any, plan: Training, weights: list[np.ndarray] | None = None, nudge: float = 0) -> dict[str, np.ndarray]:
    """Everything that can be observed of the run. Without weights, the library's own first ones (named "first0", ...).
    nudge: how far to move every weight and input, about."""
    random, shake = np.random.default_rng(0), np.random.default_rng(1)
    layers = [eval(text, {"t": t, "F": t.nn.functional}) for text in plan.layers]
    modules = [layer for layer in layers if isinstance(layer, t.nn.Module)]
    for module in modules:
        module.to(getattr(t, plan.dtype))
    parameters = [p for module in modules for p in module.parameters()]
    seen: dict[str, np.ndarray] = {}
    if weights is None:
        seen = {f"first{i}": p.detach().numpy().copy() for i, p in enumerate(parameters)}
    else:
        with t.no_grad():
            for p, array in zip(parameters, weights, strict=True):
                p.copy_(t.tensor(array + nudge * shake.standard_normal(array.shape)))
    optimizer = eval(plan.optimizer, {"t": t, "parameters": parameters}) if parameters else None
    for step in range(STEPS):
        if plan.tokens:
            x = t.tensor(random.integers(0, plan.tokens, plan.shape))
        else:
            values = random.standard_normal(plan.shape)
            x = t.tensor(values + nudge * shake.standard_normal(plan.shape)).to(getattr(t, plan.dtype)).requires_grad_()
        out = x
        for layer in layers:
            out = layer(out)
        labels = t.tensor(random.integers(0, max(plan.classes, 1), (out.shape[0],)))
        target = t.tensor(random.standard_normal(tuple(out.shape))).to(out.dtype)
        loss = eval(plan.loss, {"t": t, "F": t.nn.functional, "out": out, "labels": labels, "target": target})
        if optimizer is not None:
            optimizer.zero_grad()
        loss.backward()
        for i, p in enumerate(parameters):
            if p.grad is not None:
                seen[f"gradient{i} in step {step}"] = p.grad.numpy().copy()
        if optimizer is not None:
            optimizer.step()
        seen[f"out{step}"], seen[f"loss{step}"] = out.detach().numpy().copy(), loss.detach().numpy().copy()
        if not plan.tokens:
            seen[f"input gradient {step}"] = x.grad.numpy().copy()
    seen |= {f"weight{i}": p.detach().numpy().copy() for i, p in enumerate(parameters)}
    buffers = [b for module in modules for b in module.buffers()]
    return seen | {f"buffer{i}": b.numpy().copy() for i, b in enumerate(buffers)}


def check(plan: Training) -> None:
    """Raises AssertionError where the two runs differ by more than rounding explains."""
    want = train(oracle, plan)
    first = [array for name, array in want.items() if name.startswith("first")]
    got = train(lazytorch, plan, first)
    assert set(got) == {name for name in want if not name.startswith("first")}
    exact = train(oracle, replace(plan, dtype="float64"), first) if plan.dtype == "float32" else {}
    for name, array in got.items():
        size = float(np.abs(want[name]).max(initial=1.0))
        if plan.dtype == "float64":
            if not np.allclose(array, want[name], rtol=TOLERANCE[0], atol=TOLERANCE[1] * size, equal_nan=True):
                theirs, ours = _moved_by_rounding(plan, first, want, name), float(np.abs(array - want[name]).max())
                assert ours <= 10 * theirs, f"{name} is off by {ours}: {array} should be {want[name]}, ± {theirs}"
                return  # what follows goes on from there
            continue
        finite = np.isfinite(want[name])
        np.testing.assert_array_equal(np.where(finite, 0, array), np.where(finite, 0, want[name]), name)
        theirs, ours = (float(np.abs(x - exact[name])[finite].max(initial=0.0)) for x in (want[name], array))
        assert ours <= 10 * theirs + ROUNDING * size, f"{name} is off by {ours}, torch's by {theirs}"


def _moved_by_rounding(plan: Training, first: list[np.ndarray], want: dict[str, np.ndarray], name: str) -> float:
    """How far a value of torch's own run moves with weights and inputs that round otherwise: where a sign is that of a sum
    which is 0 but for rounding, as far as you like."""
    runs = [train(oracle, plan, first, nudge) for nudge in np.linspace(-2e-15, 2e-15, 20)]
    return max(float(np.abs(run[name] - want[name]).max()) for run in runs)


# -- drawing them ------------------------------------------------------------


class _Draft:
    """Layers while they are drawn, with a value that the oracle takes through them."""

    def __init__(self, draw: st.DrawFn, x: Any) -> None:
        self.draw = draw
        self.x = x
        self.layers: list[str] = []

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def add(self, text: str) -> None:
        """Append a layer if the oracle takes it and something is left."""
        try:
            layer = eval(text, {"t": oracle, "F": oracle.nn.functional})
            made = layer.double()(self.x) if isinstance(layer, oracle.nn.Module) else layer(self.x)
        except (RuntimeError, ValueError):
            return
        if 0 < made.numel() <= 4000:
            self.x = made.detach()
            self.layers.append(text)


ACTIVATIONS = (
    *("ReLU()", "Tanh()", "Sigmoid()", "GELU()", "SiLU()", "Identity()", "LeakyReLU(0.1)", "ELU()", "SELU()", "CELU(0.5)"),
    *("Softplus()", "Hardtanh()", "Hardsigmoid()", "Hardswish()", "ReLU6()", "Mish()", "LogSigmoid()", "PReLU()"),
    *("Softsign()", "Tanhshrink()", "Softshrink()", "Hardshrink()"),
)


def _activation(d: _Draft) -> None:
    d.add(f"t.nn.{d.pick(*ACTIVATIONS)}")


def _linear(d: _Draft) -> None:
    d.add(f"t.nn.Linear({d.x.shape[-1]}, {d.pick(1, 3, 8, 17)}, bias={d.pick(True, False)})")


def _conv(d: _Draft) -> None:
    channels = d.x.shape[1]
    groups = d.pick(1, 1, *[n for n in (2, 3, 4) if channels % n == 0])
    out = groups * d.pick(1, 2, 3)
    spatial = d.x.ndim - 2
    size, stride, padding, dilation = (
        d.pick(a, a, tuple(d.draw(st.lists(st.sampled_from(options), min_size=spatial, max_size=spatial))))
        for options in ((1, 2, 3, 4), (1, 2, 3), (0, 1, 2), (1, 1, 2))
        for a in [d.pick(*options)]
    )
    if d.pick(True, False, False):
        d.add(
            f"t.nn.ConvTranspose{spatial}d({channels}, {out}, {size}, stride={stride}, padding={padding}, groups={groups})"
        )
        return
    d.add(
        f"t.nn.Conv{spatial}d({channels}, {out}, {size}, stride={stride}, padding={padding}, dilation={dilation}, "
        f"groups={groups}, bias={d.pick(True, False)})"
    )


def _pool(d: _Draft) -> None:
    spatial = d.x.ndim - 2
    options = f"{d.pick(2, 3)}, stride={d.pick(None, 1, 2)}, padding={d.pick(0, 0, 1)}, ceil_mode={d.pick(True, False)}"
    d.add(
        d.pick(
            f"t.nn.MaxPool{spatial}d({options})",
            f"t.nn.AvgPool{spatial}d({options}, count_include_pad={d.pick(True, False)})",
            f"t.nn.AdaptiveAvgPool{spatial}d({d.pick(1, 2, 3)})",
            f"t.nn.ConstantPad{spatial}d({d.pick(1, 2)}, 0.5)",
            f"t.nn.ReflectionPad{spatial}d({d.pick(1, 2)})",
            f"t.nn.Upsample(scale_factor={d.pick(2, 1.5)})",
        )
    )


def _norm(d: _Draft) -> None:
    shape = d.x.shape
    if d.pick(True, False, False) and len(shape) in (3, 4):
        groups = d.pick(*[n for n in (1, 2, 3) if shape[1] % n == 0])
        d.add(
            d.pick(f"t.nn.GroupNorm({groups}, {shape[1]})", f"t.nn.InstanceNorm{len(shape) - 2}d({shape[1]}, affine=True)")
        )
    elif d.pick(True, False) and len(shape) in (2, 3, 4) and shape[0] * d.x[0, 0].numel() > 2:
        d.add(f"t.nn.BatchNorm{'2d' if len(shape) == 4 else '1d'}({shape[1]}, momentum={d.pick(0.1, 0.5)})")
    else:
        last = d.pick(1, len(shape) - 1)
        d.add(f"t.nn.{d.pick('LayerNorm', 'RMSNorm')}({list(shape[-last:])})")


def _softmax(d: _Draft) -> None:
    d.add(f"t.nn.{d.pick('Softmax', 'LogSoftmax')}(dim={d.pick(-1, 1)})")


def _attention(d: _Draft) -> None:
    if d.x.ndim >= 3:
        d.add(f"lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1, is_causal={d.pick(True, False)})")


def _residual(d: _Draft) -> None:
    d.add(
        d.pick(
            "lambda x: x + x.tanh()",
            "lambda x: x * x.mean(-1, keepdim=True)",
            "lambda x: t.cat([x, -x], 1)",
            "lambda x: x.transpose(1, -1)",
            "lambda x: x.transpose(1, -1).contiguous() * 2",
            "lambda x: x[:, ::2]",
            "lambda x: x.flip(1) - x",
            "lambda x: x / (1 + x.abs())",
            "lambda x: t.where(x > 0, x, x * 0.1)",
            "lambda x: x.clamp(-1, 1) + x",
        )
    )


LAYERS = (*(_activation,) * 3, *(_linear,) * 3, _norm, _softmax, _attention, *(_residual,) * 2)
IMAGE_LAYERS = (*(_conv,) * 4, *(_pool,) * 2, _norm, _activation, _activation, _residual)


def _optimizer(draw: st.DrawFn) -> str:
    def pick(*options: Any) -> Any:
        return draw(st.sampled_from(options))

    decay = pick(0, 0, 0.1)
    kind = pick("SGD", "Adam", "AdamW")
    if kind != "SGD":
        options = f"lr={pick(0.01, 0.1)}, betas={pick((0.9, 0.999), (0.5, 0.9))}, weight_decay={decay}"
        # Without more than the default eps a gradient that is all rounding, as before a normalisation, makes a whole step.
        return f"t.optim.{kind}(parameters, {options}, eps=1e-4, amsgrad={pick(False, False, True)})"
    momentum = pick(0, 0.9)
    more = f", nesterov={pick(True, False)}" if momentum else ""
    return f"t.optim.SGD(parameters, lr={pick(0.01, 0.1)}, momentum={momentum}, weight_decay={decay}{more})"


@st.composite
def trainings(draw: st.DrawFn) -> Training:
    """Networks on vectors, sequences, images or tokens."""

    def pick(*options: Any) -> Any:
        return draw(st.sampled_from(options))

    kind = pick("vectors", "sequences", "images", "images", "signals", "tokens")
    batch, tokens = pick(1, 2, 5, 9), 0
    shape = {
        "vectors": (batch, pick(1, 4, 7, 16)),
        "sequences": (batch, pick(1, 3, 8), pick(2, 5)),
        "images": (batch, pick(1, 2, 3, 4), pick(4, 6, 9), pick(4, 5, 8)),
        "signals": (batch, pick(1, 2, 4), pick(5, 9, 16)),
        "tokens": (batch, pick(1, 3, 6)),
    }[kind]
    d = _Draft(draw, oracle.linspace(-1, 1, int(np.prod(shape)), dtype=oracle.float64).reshape(shape))
    if kind == "tokens":
        tokens = 7
        d.x = oracle.arange(d.x.numel()).reshape(shape) % tokens
        d.add(f"t.nn.Embedding({tokens}, {pick(3, 8)})")
    layers: tuple[Callable[[_Draft], None], ...] = IMAGE_LAYERS if kind in ("images", "signals") else LAYERS
    for _ in range(draw(st.integers(1, 5))):
        pick(*layers)(d)
    classes = 0
    # No loss whose gradient vanishes after a normalisation, as that of the mean square does: Adam would follow its rounding.
    losses = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss")
    loss = pick(f"F.{pick(*losses)}(out, target)", "(out * target).mean()", "F.cross_entropy(out, labels)")
    if "labels" in loss:
        d.add("t.nn.Flatten()")
        classes = pick(2, 5)
        d.add(f"t.nn.Linear({d.x.shape[-1]}, {classes})")
        loss = pick(loss, "F.cross_entropy(out, labels, label_smoothing=0.1)", "F.nll_loss(F.log_softmax(out, 1), labels)")
    dtype = pick("float64", "float64", "float32")
    optimizer = _optimizer(draw) if dtype == "float64" else "t.optim.SGD(parameters, lr=0.01)"
    return Training(shape, tuple(d.layers), loss, optimizer, classes, tokens, dtype)
