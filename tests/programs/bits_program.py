"""A program whose every result is hashed, run by test_same_bits.py under different settings: one hash per part."""

import hashlib
import sys

import lazytorch as torch
from lazytorch import nn


def digest(*tensors):
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(tensor.detach().numpy().tobytes())
    return state.hexdigest()[:16]


def elementwise():
    x = torch.randn(37, 53)
    y = torch.randn(53)
    z = torch.tanh(x * y + 0.5) / (1 + torch.exp(-x)) - torch.log(x.abs() + 1) * torch.sin(y)
    return z, (z > 0), torch.where(z > 0, x, y), (z * 3).to(torch.int64)


def reductions():
    x = torch.randn(13, 5000)
    return x.sum(), x.sum(0), x.sum(1), x.mean(1), x.max(), x.std(1), torch.softmax(x, -1), (x * x).sum(-1).sqrt()


def views():
    x = torch.randn(6, 8, 10)
    y = x.permute(2, 0, 1)[1:7:2] + 1
    return y, y.reshape(-1), x.transpose(0, 2).contiguous().sum(0), torch.cat([x, x * 2], 1)[:, 3:11]


def contractions():
    a, b = torch.randn(65, 300), torch.randn(300, 33)
    w = torch.randn(40, 300)
    return a @ b, a @ w.t(), torch.relu(a @ b + 1), torch.randn(3, 17, 9) @ torch.randn(3, 9, 21)


def row_alone():
    x, w = torch.randn(8, 300), torch.randn(10, 300)
    whole = torch.softmax(x @ w.t(), -1)
    alone = torch.cat([torch.softmax(x[i : i + 1] @ w.t(), -1) for i in range(8)])
    assert torch.equal(whole, alone), "a row alone differs from the row in its batch"
    return whole, x.sum(1), x[3].sum()


def train(model, images):
    labels = torch.randint(0, 10, (images.shape[0],))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return (*losses, *model.parameters())


def mlp():
    return train(nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)), torch.rand(32, 64))


def cnn():
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 16, 10))
    return train(model, torch.rand(16, 1, 8, 8))


def normalised():
    model = nn.Sequential(nn.Linear(64, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 10))
    return train(model, torch.rand(32, 64))


def recurrent():
    x, layer = torch.randn(5, 3, 7), nn.GRU(7, 6, bidirectional=True)
    out, last = layer(x)
    attended, _ = nn.MultiheadAttention(12, 3)(out, out, out)
    (attended.sin().sum() + last.sum()).backward()
    return out, last, attended, *[p.grad for p in layer.parameters()]


def attention():
    q, k, v = (torch.randn(2, 3, 300, 20).requires_grad_() for _ in range(3))
    masked = nn.functional.scaled_dot_product_attention(q, k, v, torch.rand(300, 300) > 0.3)
    out = nn.functional.scaled_dot_product_attention(masked, k, v, is_causal=True)
    out.sin().sum().backward()
    return masked, out, q.grad, k.grad, v.grad


def decoder():
    model = nn.Sequential(
        nn.ConvTranspose2d(3, 6, 3, stride=2, padding=1),
        nn.GroupNorm(2, 6),
        nn.Mish(),
        nn.Upsample(scale_factor=1.5, mode="bilinear"),
        nn.AdaptiveAvgPool2d((3, 5)),
        nn.Flatten(),
        nn.Linear(90, 10),
    )
    return train(model, torch.rand(4, 3, 5, 4))


def optimizers():
    results = []
    for kind in ("RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD"):
        weights = nn.Parameter(torch.linspace(-1, 1, 70))
        optimizer = getattr(torch.optim, kind)([weights], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (weights**2 * torch.arange(70)).sum().backward()
            optimizer.step()
        results.append(weights)
    return tuple(results)


def distributions():
    weights = torch.tensor([0.5, 2.0, 7.0], requires_grad=True)
    kinds = torch.distributions.Gamma, torch.distributions.Beta
    drawn = [kind(weights, weights + 1).rsample((5,)) for kind in kinds] + [
        torch.distributions.Dirichlet(weights).rsample((5,))
    ]
    scores = [torch.distributions.StudentT(weights + 1).log_prob(x) for x in drawn]
    sum(x.sum() for x in (*drawn, *scores)).backward()
    return (*drawn, *scores, weights.grad)


def complex_numbers():
    turns = torch.polar(torch.rand(9, 9), torch.rand(9, 9))
    z = (turns @ turns * turns + turns.conj()).requires_grad_()
    spectrum = torch.fft.fft(z * (1 + 2j)).abs()
    (spectrum.sum() + z.exp().real.sum()).backward()
    return z, spectrum, z.grad


PARTS = (
    elementwise,
    reductions,
    views,
    contractions,
    row_alone,
    mlp,
    cnn,
    normalised,
    recurrent,
    attention,
    decoder,
    optimizers,
    distributions,
    complex_numbers,
)


def main():
    for part in PARTS:
        torch.manual_seed(1)
        print(part.__name__, digest(*part()))


if __name__ == "__main__":
    sys.exit(main())
