"""Recurrent layers as functions: the steps of RNN, LSTM and GRU, and what runs them along sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazytorch.ir.trace import STATE
from lazytorch.nn import functional as F
from lazytorch.ops.autocasting import narrowed
from lazytorch.ops.shaping import cat, stack
from lazytorch.tensor import Tensor

States = tuple[Tensor, ...]
"""The hidden state, and for an LSTM the cell state."""


def _plain_step(activation: Callable[[Tensor], Tensor]) -> Callable[..., States]:
    def step(from_input: Tensor, states: States, weight: Tensor, bias: Tensor | None, projection: Any) -> States:
        return (activation(from_input + F.linear(states[0], weight, bias)),)

    return step


def _lstm_step(from_input: Tensor, states: States, weight: Tensor, bias: Tensor | None, projection: Any) -> States:
    hidden, cell = states
    enter, forget, candidate, leave = (from_input + F.linear(hidden, weight, bias)).chunk(4, -1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    hidden = leave.sigmoid() * cell.tanh()
    return (hidden if projection is None else F.linear(hidden, projection)), cell


def _gru_step(from_input: Tensor, states: States, weight: Tensor, bias: Tensor | None, projection: Any) -> States:
    hidden = states[0]
    reset_x, update_x, new_x = from_input.chunk(3, -1)
    reset_h, update_h, new_h = F.linear(hidden, weight, bias).chunk(3, -1)
    update = (update_x + update_h).sigmoid()
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    return ((hidden - new) * update + new,)


STEPS: dict[str, tuple[int, Callable[..., States]]] = {
    "RNN_TANH": (1, _plain_step(F.tanh)),
    "RNN_RELU": (1, _plain_step(F.relu)),
    "LSTM": (4, _lstm_step),
    "GRU": (3, _gru_step),
}
"""Gates per hidden unit, and the step, of every kind of layer."""


def run_direction(
    step: Callable[..., States],
    inputs: Sequence[Tensor],
    states: States,
    weights: tuple[Tensor, Tensor | None, Tensor | None],
    backwards: bool,
) -> tuple[list[Tensor], States]:
    """All steps of one direction of one layer; a step may have fewer rows than the one before: those sequences are over.

    Returns the hidden states of all steps and the last states of all rows.
    """
    initial = states
    outputs: list[Tensor] = []
    finished: list[States] = []
    rows = states[0].shape[0]
    if backwards:
        rows = inputs[-1].shape[0]
        states = tuple([x[:rows] for x in initial]) if rows < initial[0].shape[0] else initial
    for x in reversed(inputs) if backwards else inputs:
        count = x.shape[0]
        if count < rows:
            finished.append(tuple([s[count:] for s in states]))
            states = tuple([s[:count] for s in states])
        elif count > rows:
            states = tuple([cat([s, first[rows:count]], 0) for s, first in zip(states, initial, strict=True)])
        rows = count
        states = step(x, states, *weights)
        outputs.append(states[0])
    if finished:
        states = tuple([cat(list(parts), 0) for parts in zip(states, *reversed(finished), strict=True)])
    return outputs[::-1] if backwards else outputs, states


LayerWeights = tuple[Tensor, Tensor | None, tuple[Tensor, Tensor | None, Tensor | None]]
"""Of a layer's direction: input weight and bias, and what the step takes: hidden weight and bias, projection."""


def run_layers(
    mode: str,
    x: Tensor,
    sizes: list[int],
    states: States,
    weights: Sequence[LayerWeights],
    bidirectional: bool,
    dropout: float,
) -> tuple[Tensor, States]:
    """All layers over [T, N, size], or over packed [elements, size] with so many elements per step.

    weights: those of every layer and direction. Returns the last layer's outputs, and the last states.
    """
    narrow = STATE.trace.autocast
    if narrow is not None:
        x, states = narrowed(x, narrow), tuple([narrowed(state, narrow) for state in states])
    is_packed = len(x.shape) == 2
    _, step = STEPS[mode]
    directions = 1 + bidirectional
    layers = len(weights) // directions
    last: list[States] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            weight, bias, rest = weights[number]
            projected = F.linear(x, weight, bias)
            inputs = projected.split(sizes, 0) if is_packed else projected.unbind(0)
            mine = tuple([state[number] for state in states])
            found, final = run_direction(step, inputs, mine, rest, backwards=direction == 1)
            outputs.append(cat(found, 0) if is_packed else stack(found, 0))
            last.append(final)
        x = outputs[0] if directions == 1 else cat(outputs, -1)
        if dropout and layer < layers - 1:
            x = F.dropout(x, dropout, True)
    return x, tuple([stack(list(parts), 0) for parts in zip(*last, strict=True)])


def _layer_function(name: str, mode: str) -> Callable[..., tuple[Tensor, ...]]:
    def function(input: Tensor, *arguments: Any, **keywords: Any) -> tuple[Tensor, ...]:
        names = ["hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first"]
        # The form for packed sequences has the batch sizes first, and so the parameters where the other has a bool.
        is_packed = "batch_sizes" in keywords or (len(arguments) > 2 and not isinstance(arguments[2], bool))
        if is_packed:
            names = ["batch_sizes", *names[:-1]]
        given = dict(zip(names, arguments, strict=False)) | keywords
        hx, params = given["hx"], list(given["params"])
        states = tuple(hx) if mode == "LSTM" else (hx,)
        each = 4 if given["has_biases"] else 2
        has_projection = mode == "LSTM" and states[0].shape[-1] != states[1].shape[-1]
        weights = []
        for at in range(0, len(params), each + has_projection):
            own = params[at : at + each + has_projection]
            projection = own.pop() if has_projection else None
            biases = own[2:] or [None, None]
            weights.append((own[0], biases[0], (own[1], biases[1], projection)))
        if len(weights) != given["num_layers"] * (1 + given["bidirectional"]):
            raise RuntimeError(f"{name}: {len(params)} parameters do not make {given['num_layers']} layers")
        dropout = given["dropout"] if given["train"] else 0.0
        swapped = given.get("batch_first", False)
        x = input.transpose(0, 1) if swapped else input
        sizes = given["batch_sizes"].tolist() if is_packed else [x.shape[1]] * x.shape[0]
        out, last = run_layers(mode, x, sizes, states, weights, given["bidirectional"], dropout)
        return (out.transpose(0, 1) if swapped else out, *last)

    function.__name__, function.__doc__ = name, f"Layers of `{mode}`: the outputs and the last states (torch.{name})."
    return function


def _cell_function(name: str, mode: str) -> Callable[..., Any]:
    def function(
        input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> Any:
        _, step = STEPS[mode]
        states = tuple(hx) if mode == "LSTM" else (hx,)
        out = step(F.linear(input, w_ih, b_ih), states, w_hh, b_hh, None)
        return out if mode == "LSTM" else out[0]

    function.__name__, function.__doc__ = name, f"One step of `{mode}`: the new state (torch.{name})."
    return function


rnn_tanh, rnn_relu = _layer_function("rnn_tanh", "RNN_TANH"), _layer_function("rnn_relu", "RNN_RELU")
lstm, gru = _layer_function("lstm", "LSTM"), _layer_function("gru", "GRU")
rnn_tanh_cell, rnn_relu_cell = _cell_function("rnn_tanh_cell", "RNN_TANH"), _cell_function("rnn_relu_cell", "RNN_RELU")
lstm_cell, gru_cell = _cell_function("lstm_cell", "LSTM"), _cell_function("gru_cell", "GRU")
