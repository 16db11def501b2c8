"""The examples run unmodified under both, and say the same."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_prints_torchs_text() -> None:
    script = str(EXAMPLES / "tutorial.py")
    assert run("-m", "lazytorch", "run", script) == run(script)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_first_hundred_losses_are_torchs(model: str, tmp_path: Path) -> None:
    script = str(EXAMPLES / "digits.py")
    losses = {}
    for name, command in (("torch", (script,)), ("lazytorch", ("-m", "lazytorch", "run", script))):
        file = tmp_path / name
        run(*command, "--model", model, "--steps", "100", "--plot", "", "--losses", str(file))
        losses[name] = [float(line) for line in file.read_text().splitlines()]
    assert len(losses["torch"]) == 100
    assert losses["lazytorch"] == pytest.approx(losses["torch"], rel=1e-4)


def test_the_digits_are_learned() -> None:
    out = run("-m", "lazytorch", "run", str(EXAMPLES / "digits.py"), "--plot", "")
    assert float(out.split()[-1].rstrip("%")) >= 97
