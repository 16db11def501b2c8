"""`python -m benchmarks NAME [options]`."""

from __future__ import annotations

import importlib
import sys

NAMES = ("record", "steps", "kernels", "operations", "contractions", "gpu")


def main() -> int:
    """Run the named benchmark, or all of them."""
    names = sys.argv[1:2] or list(NAMES)
    if names[0] not in NAMES:
        print(f"usage: python -m benchmarks [{'|'.join(NAMES)}] [options]")
        return 2
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
