"""Softmax over very many classes, the rare ones in clusters (torch.nn; Grave et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lazytorch.nn import functional as F
from lazytorch.nn.modules.container import ModuleList, Sequential
from lazytorch.nn.modules.linear import Linear
from lazytorch.nn.modules.module import Module
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.ops.shaping import cat
from lazytorch.tensor import Tensor


class _ASMoutput(NamedTuple):
    """Log probabilities of the targets, and the mean loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """A head over frequent classes and clusters, and one small network for each cluster of rarer classes."""

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        ends = list(cutoffs)
        if not ends:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            ends != sorted(ends)
            or min(ends) <= 0
            or max(ends) > n_classes - 1
            or len(set(ends)) != len(ends)
            or any(int(end) != end for end in ends)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value "
                "is between 1 and n_classes-1"
            )
        self.in_features, self.n_classes, self.div_value, self.head_bias = in_features, n_classes, div_value, head_bias
        self.cutoffs = [*ends, n_classes]
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            projection = Sequential(
                Linear(in_features, hidden, bias=False, **options), Linear(hidden, size, bias=False, **options)
            )
            self.tail.append(projection)

    def reset_parameters(self) -> None:
        """Initialise all layers again."""
        self.head.reset_parameters()
        for cluster in self.tail.children():
            for layer in cluster.children():
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        if len(target_.shape) == 1:
            if input_.shape[0] != target_.shape[0]:
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
            if len(input_.shape) != 2:
                raise RuntimeError("1D target tensor expects 2D input tensors, but found inputs with size", input_.size())
        elif len(target_.shape) != 0 or len(input_.shape) != 1:
            raise RuntimeError(
                "0D or 1D target tensor is supported, multi-target is not supported"
                if len(target_.shape) > 1
                else "0D target tensor expects 1D input tensors, but found inputs with size"
            )
        single = len(target_.shape) == 0
        x, target = (input_.unsqueeze(0), target_.unsqueeze(0)) if single else (input_, target_)
        out = self._log_probabilities_of(x, target)
        loss = (-out).mean()
        return _ASMoutput(out.squeeze(0) if single else out, loss)

    def _log_probabilities_of(self, x: Tensor, target: Tensor) -> Tensor:
        numbers = target.cpu().numpy()
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{numbers.min()}, {numbers.max()}] were found. "
            )
        head = F.log_softmax(self.head(x), dim=1)
        column = target.clamp(max=self.shortlist_size - 1)
        rest = None
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = (target >= low) & (target < high)
            if not bool(inside.any()):
                continue
            column = FUNCTIONS["where"](inside, self.shortlist_size + i, column)
            cluster = F.log_softmax(self.tail[i](x), dim=1)
            picked = cluster.gather(1, (target - low).clamp(0, high - low - 1).unsqueeze(1)).squeeze(1)
            part = FUNCTIONS["where"](inside, picked, picked.new_zeros(()))
            rest = part if rest is None else rest + part
        out = head.gather(1, column.unsqueeze(1)).squeeze(1)
        return out if rest is None else out + rest

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities of all classes."""
        head = self.head(input)
        return self._all(input, F.log_softmax(head, dim=1))

    def _all(self, input: Tensor, head: Tensor) -> Tensor:
        parts = [head[:, : self.shortlist_size]]
        for i in range(self.n_clusters):
            column = self.shortlist_size + i
            parts.append(F.log_softmax(self.tail[i](input), dim=1) + head[:, column : column + 1])
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest classes."""
        found: Tensor = self.log_prob(input).argmax(1)
        return found
