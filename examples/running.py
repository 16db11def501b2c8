"""What the examples share: the command line, the seed, the picture and the losses at the end."""

import argparse
import sys
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")


def start(description, steps):
    """The command line's options, `steps` being the default number of training steps; seeds the random numbers."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="training steps (default: %(default)s)")
    parser.add_argument("--losses", help="file to write the loss of every step to")
    name = Path(sys.argv[0]).stem + ".png"
    parser.add_argument("--plot", default=name, help="file to draw the result to, '' for none (default: %(default)s)")
    torch.manual_seed(0)
    return parser.parse_args()


def finish(options, losses, figure):
    """Write what was asked for and say how training went. losses: numbers or scalar tensors."""
    losses = [float(loss) for loss in losses]
    if options.losses:
        Path(options.losses).write_text("".join(f"{loss!r}\n" for loss in losses))
    if options.plot:
        figure().savefig(options.plot, dpi=120, bbox_inches="tight")
        print(f"picture: {options.plot}")
    print(f"loss: {losses[0]:.4f} at first, {losses[-1]:.4f} after {options.steps} steps")
