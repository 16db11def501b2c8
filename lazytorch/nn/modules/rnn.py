"""Recurrent layers and cells: RNN, LSTM, GRU (torch.nn)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from lazytorch.nn import functional as F
from lazytorch.nn import init
from lazytorch.nn.functions.sequences import PackedSequence
from lazytorch.nn.modules.module import Module
from lazytorch.nn.modules.recurrence import STEPS, LayerWeights, States, run_layers
from lazytorch.nn.parameter import Parameter
from lazytorch.ops.creation import empty
from lazytorch.tensor import Tensor


class RNNBase(Module):
    """What the recurrent layers share."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._check_options(input_size, hidden_size, num_layers, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        gates, _ = STEPS[mode]
        out = proj_size or hidden_size
        self._names: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[: 1 + bidirectional]:
                size = input_size if layer == 0 else out * (1 + bidirectional)
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates * hidden_size, size),
                    "weight_hh": (gates * hidden_size, out),
                }
                if bias:
                    shapes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = {name: f"{name}_l{layer}{suffix}" for name in shapes}
                for name, shape in shapes.items():
                    setattr(self, names[name], Parameter(empty(*shape, device=device, dtype=dtype)))
                self._names.append(list(names.values()))
        self.reset_parameters()

    def _check_options(self, input_size: int, hidden_size: int, num_layers: int, dropout: float, proj_size: int) -> None:
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
                f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=4,
            )
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if input_size <= 0:
            raise ValueError("input_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: parameters need not lie side by side here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of every layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [weight for group in self.all_weights for weight in group]

    def _weights(self, number: int) -> LayerWeights:
        group: list[Any] = [getattr(self, name) for name in self._names[number]]
        projection = group.pop() if self.proj_size else None
        biases = group[2:] if self.bias else [None, None]
        return group[0], biases[0], (group[1], biases[1], projection)

    # -- checks

    def _expected_states(self, batch: int) -> list[tuple[int, ...]]:
        count = self.num_layers * (1 + self.bidirectional)
        sizes = [self.proj_size or self.hidden_size] + ([self.hidden_size] if self.mode == "LSTM" else [])
        return [(count, batch, size) for size in sizes]

    def _check_states(self, states: States, batch: int) -> None:
        for number, (state, expected) in enumerate(zip(states, self._expected_states(batch), strict=True)):
            name = f"hidden[{number}]" if self.mode == "LSTM" else "hidden"
            if tuple(state.shape) != expected:
                raise RuntimeError(f"Expected {name} size {expected}, got {list(state.shape)}")

    def _given_states(self, hx: Any, batched: bool) -> States | None:
        if hx is None:
            return None
        states: States = tuple(hx) if self.mode == "LSTM" else (hx,)
        wanted = 3 if batched else 2
        if any(len(state.shape) != wanted for state in states):
            kind = "batched 3-D" if batched else "unbatched 2-D"
            if self.mode == "LSTM":
                ranks = ", ".join(f"{len(state.shape)}-D" for state in states)
                raise RuntimeError(f"For {kind} input, hx and cx should also be {wanted}-D but got ({ranks}) tensors")
            raise RuntimeError(f"For {kind} input, hx should also be {wanted}-D but got {len(states[0].shape)}-D tensor")
        return states if batched else tuple([state.unsqueeze(1) for state in states])

    # -- forward

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if len(input.shape) not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {len(input.shape)}D instead")
        batched = len(input.shape) == 3
        states = self._given_states(hx, batched)
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        x = x.transpose(0, 1) if self.batch_first else x
        self._check_size(x)
        steps, batch = x.shape[:2]
        if steps == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if states is not None:
            self._check_states(states, batch)
        out, last = self._layers(x, [batch] * steps, states)
        if self.batch_first:
            out = out.transpose(0, 1)
        if not batched:
            out, last = out.squeeze(0 if self.batch_first else 1), tuple([state.squeeze(1) for state in last])
        return out, last if self.mode == "LSTM" else last[0]

    def _check_size(self, x: Tensor) -> None:
        want = next(self.parameters()).dtype
        if x.dtype is not want:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({want}). Convert input: input.to({want}), or "
                f"convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}")

    def _forward_packed(self, input: PackedSequence, hx: Any) -> Any:
        self._check_size(input.data)
        sizes = input.batch_sizes.tolist()
        states = None if hx is None else tuple(hx) if self.mode == "LSTM" else (hx,)
        if states is not None and input.sorted_indices is not None:
            order = input.sorted_indices
            states = tuple([state.index_select(1, order) for state in states])
        if states is not None:
            self._check_states(states, sizes[0])
        out, last = self._layers(input.data, sizes, states)
        if input.unsorted_indices is not None:
            back = input.unsorted_indices
            last = tuple([state.index_select(1, back) for state in last])
        return input._replace(data=out), last if self.mode == "LSTM" else last[0]

    def _layers(self, x: Tensor, sizes: list[int], states: States | None) -> tuple[Tensor, States]:
        """All layers over [T, N, size], or over packed [elements, size]. Returns the last layer's outputs, and states."""
        if states is None:
            states = tuple([x.new_zeros(shape) for shape in self._expected_states(sizes[0])])
        weights = [self._weights(number) for number in range(len(self._names))]
        dropout = self.dropout if self.training else 0.0
        return run_layers(self.mode, x, sizes, states, weights, self.bidirectional, dropout)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        return text if self.bidirectional is False else f"{text}, bidirectional={self.bidirectional}"


class RNN(RNNBase):
    """tanh (or relu) of input and hidden state, layer upon layer."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory, layer upon layer."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class GRU(RNNBase):
    """Gated recurrent units, layer upon layer."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


# -- cells ------------------------------------------------------------


class RNNCellBase(Module):
    """One step of one layer."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, kind: str, input: Tensor, states: Sequence[Tensor] | None) -> States:
        name = type(self).__name__
        if len(input.shape) not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {len(input.shape)}D instead")
        for number, state in enumerate(states or ()):
            if len(state.shape) not in (1, 2):
                which = f"hx[{number}]" if kind == "LSTM" else "hidden"
                raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {len(state.shape)}D instead")
        batched = len(input.shape) == 2
        x = input if batched else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        if states is None:
            zeros = x.new_zeros((x.shape[0], self.hidden_size))
            states = (zeros, zeros) if kind == "LSTM" else (zeros,)
        elif not batched:
            states = [state.unsqueeze(0) for state in states]
        for number, state in enumerate(states):
            if state.shape[0] != x.shape[0]:
                raise RuntimeError(f"Input batch size {x.shape[0]} doesn't match hidden{number} batch size {state.shape[0]}")
            if state.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{number} has inconsistent hidden_size: got {state.shape[1]}, expected {self.hidden_size}"
                )
        _, step = STEPS[kind]
        from_input = F.linear(x, self.weight_ih, self.bias_ih)
        out = step(from_input, tuple(states), self.weight_hh, self.bias_hh, None)
        return out if batched else tuple([state.squeeze(0) for state in out])

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"


class RNNCell(RNNCellBase):
    """tanh (or relu) of input and hidden state."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of long short-term memory."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        hidden, cell = self._step("LSTM", input, hx)
        return hidden, cell


class GRUCell(RNNCellBase):
    """One step of gated recurrent units."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step("GRU", input, None if hx is None else (hx,))[0]
