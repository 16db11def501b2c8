"""Whole training steps, forward to `loss.item()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workload import Library, Step, Workload

TOKENS, WORDS = (8, 128), 1000


def network(torch: Any, name: str) -> tuple[Any, Any]:
    """A model and a batch of 64: an MLP 64-64-10, or two 3x3 convolutions with pooling on 8x8 images."""
    torch.manual_seed(0)
    nn = torch.nn
    if name == "mlp":
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), torch.rand(64, 64)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return model, torch.rand(64, 1, 8, 8)


def mlp_step(library: Library) -> Step:
    """MLP, SGD with momentum."""
    return _classifier(library, *network(library.module, "mlp"))


def cnn_step(library: Library) -> Step:
    """CNN, SGD with momentum."""
    return _classifier(library, *network(library.module, "cnn"))


def _classifier(library: Library, model: Any, images: Any) -> Step:
    torch = library.module
    labels = torch.randint(0, 10, (64,))
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return _step(library, model, optimizer, lambda called: loss_function(called(images), labels))


def _step(library: Library, model: Any, optimizer: Any, loss_of: Callable[[Any], Any]) -> Step:
    called = library.model(model)

    def update() -> Any:
        optimizer.zero_grad()
        loss = loss_of(called)
        loss.backward()
        optimizer.step()
        return loss.detach()

    updated = library.step(update)
    return lambda: updated().item()


def transformer_step(library: Library) -> Step:
    """Four encoder layers of width 128 with 4 heads over 8 x 128 tokens of 1,000 words, AdamW."""
    torch = library.module
    torch.manual_seed(0)
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(WORDS, 128), encoder, nn.Linear(128, WORDS))
    tokens, following = torch.randint(0, WORDS, TOKENS), torch.randint(0, WORDS, TOKENS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = torch.nn.functional.cross_entropy
    return _step(library, model, optimizer, lambda called: loss(called(tokens).flatten(0, 1), following.flatten()))


def lstm_step(library: Library) -> Step:
    """An LSTM of width 128 over 32 sequences of 32 steps of 64 numbers, and a linear layer on its last state; Adam."""
    torch = library.module
    torch.manual_seed(0)
    nn = torch.nn
    recurrent, last = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 10)
    model = nn.ModuleList([recurrent, last])
    sequences, labels = torch.randn(32, 32, 64), torch.randint(0, 10, (32,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    run, classify = library.model(recurrent), library.model(last)
    loss = torch.nn.functional.cross_entropy
    return _step(library, model, optimizer, lambda _: loss(classify(run(sequences)[0][:, -1]), labels))


WORKLOADS: dict[str, Workload] = {
    "training step, digits MLP": Workload(mlp_step, is_training=True),
    "training step, CNN": Workload(cnn_step, is_training=True),
    "training step, transformer": Workload(transformer_step, is_training=True),
    "training step, LSTM": Workload(lstm_step, is_training=True),
}
