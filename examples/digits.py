"""Learn to read handwriting: an MLP or a small CNN on scikit-learn's digits (1,797 real 8x8 images).

python -m lazytorch run examples/digits.py --model cnn       (or: python examples/digits.py, with PyTorch)
"""

import argparse
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn


def make_model(name):
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def load_data():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, test = order[360:], order[:360]
    return images[train], labels[train], images[test], labels[test]


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def train(model, images, labels, epochs, steps, batch=64):
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    losses = []
    for epoch in range(epochs):
        order = torch.randperm(len(labels))
        for start in range(0, len(labels) - batch + 1, batch):
            if steps and len(losses) == steps:
                return losses
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            loss = loss_function(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"\repoch {epoch + 1:2}/{epochs}  loss {losses[-1]:.4f}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return losses


def plot(losses, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.semilogy(losses)
    pyplot.xlabel("step")
    pyplot.ylabel("loss")
    pyplot.savefig(path)
    print(f"loss curve: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps")
    parser.add_argument("--losses", help="file to write the loss of every step to")
    parser.add_argument("--plot", default="digits-loss.png", help="picture of the loss curve ('' for none)")
    options = parser.parse_args()
    torch.manual_seed(0)
    images, labels, test_images, test_labels = load_data()
    model = make_model(options.model)
    losses = train(model, images, labels, options.epochs, options.steps)
    if options.losses:
        with open(options.losses, "w") as file:
            file.writelines(f"{loss!r}\n" for loss in losses)
    if options.plot:
        plot(losses, options.plot)
    print(f"test accuracy: {accuracy(model, test_images, test_labels):.2%}")


if __name__ == "__main__":
    main()
