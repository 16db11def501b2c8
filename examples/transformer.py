"""A character transformer learns the Zen of Python by heart; the picture shows where its heads look.

python -m lazytorch run examples/transformer.py       (or: python examples/transformer.py, with PyTorch)
"""

import codecs
import contextlib
import io

import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn
from torch.nn import functional as F

CONTEXT, WIDTH, HEADS = 48, 64, 4


def zen():
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        batch, length, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        scores = query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.attention = scores.masked_fill(future, float("-inf")).softmax(-1)
        x = x + self.out((self.attention @ value).transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.character, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters))

    def forward(self, x):
        return self.head(self.blocks(self.character(x) + self.place(torch.arange(x.shape[1]))))


def train(model, text, steps, batch=16):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps + 1)
    losses = []
    for _ in range(steps):
        starts = torch.randint(len(text) - CONTEXT, (batch, 1))
        windows = text[starts + torch.arange(CONTEXT + 1)]
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return losses


@torch.no_grad()
def continued(model, text, length):
    """The text with `length` more characters, each the most likely one."""
    for _ in range(length):
        text = torch.cat([text, model(text[None, -CONTEXT:])[0, -1].argmax(keepdim=True)])
    return text


def main():
    options = start(__doc__, steps=400)
    letters = sorted(set(zen()))
    text = torch.tensor([letters.index(letter) for letter in zen()])
    model = Transformer(len(letters))
    losses = train(model, text, options.steps)
    written = continued(model, text[100 : 100 + CONTEXT], length=60 if options.plot else 5)
    model(text[None, :CONTEXT])

    def figure():
        picture, places = pyplot.subplots(2, HEADS, figsize=(10, 5))
        for block, row in zip(model.blocks, places, strict=True):
            for head, place in enumerate(row):
                place.imshow(block.attention[0, head].detach().numpy(), cmap="magma")
                place.axis("off")
        return picture

    finish(options, losses, figure)
    print("".join(letters[i] for i in written.tolist()))


if __name__ == "__main__":
    main()
