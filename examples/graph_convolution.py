"""A graph convolution guesses which side everybody of a karate club took, from two known members (Zachary, 1977).

python -m lazytorch run examples/graph_convolution.py       (or: python examples/graph_convolution.py, with PyTorch)
"""

import networkx
import torch
from matplotlib import pyplot
from running import finish, start
from torch import nn
from torch.nn import functional as F


class GraphConvolution(nn.Module):
    """Mixes the features of neighbours: D^-1/2 (A + 1) D^-1/2 x W + b (Kipf and Welling, 2017)."""

    def __init__(self, inputs, outputs, adjacency):
        super().__init__()
        loops = adjacency + torch.eye(len(adjacency))
        scale = loops.sum(dim=1).rsqrt()
        self.register_buffer("mixing", scale[:, None] * loops * scale)
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.mixing @ self.linear(x)


def train(model, features, labels, known, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
    losses = []
    for _ in range(steps):
        model.train()
        loss = F.cross_entropy(model(features)[known], labels[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def main():
    options = start(__doc__, steps=200)
    club = networkx.karate_club_graph()
    adjacency = torch.tensor(networkx.to_numpy_array(club, weight=None), dtype=torch.float32)
    labels = torch.tensor([int(club.nodes[member]["club"] == "Officer") for member in club])
    model = nn.Sequential(
        GraphConvolution(34, 16, adjacency), nn.ReLU(), nn.Dropout(0.3), GraphConvolution(16, 2, adjacency)
    )
    losses = train(model, torch.eye(34), labels, torch.tensor([0, 33]), options.steps)
    model.eval()
    with torch.no_grad():
        officer = model(torch.eye(34)).softmax(dim=1)[:, 1]

    def figure():
        picture, place = pyplot.subplots(figsize=(7, 5))
        layout = networkx.spring_layout(club, seed=4)
        shapes = ["s" if label else "o" for label in labels.tolist()]
        networkx.draw_networkx_edges(club, layout, ax=place, alpha=0.3)
        for shape in "so":
            chosen = [member for member in club if shapes[member] == shape]
            networkx.draw_networkx_nodes(
                club, layout, chosen, node_shape=shape, node_color=officer[chosen].numpy(), cmap="coolwarm", vmin=0, vmax=1
            )
        place.set_title("shape: the side taken; colour: the side guessed")
        place.axis("off")
        return picture

    finish(options, losses, figure)
    right = ((officer > 0.5).long() == labels).sum().item()
    print(f"right about {right} of {len(labels)} members")


if __name__ == "__main__":
    main()
