"""The examples run unmodified under both, and say the same."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = {
    "digits": ("--model", "cnn", "--steps", "20"),
    "diffusion": ("--steps", "20"),
    "forecasting": ("--steps", "3"),
    "gan": ("--steps", "20"),
    "graph_convolution": ("--steps", "20"),
    "neural_ode": ("--steps", "3"),
    "policy_gradient": ("--steps", "2"),
    "regression": ("--steps", "4"),
    "transformer": ("--steps", "5"),
    "vae": ("--steps", "20"),
}
"""Each example, with arguments that keep it short."""


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_prints_torchs_text() -> None:
    script = str(EXAMPLES / "tutorial.py")
    assert run("-m", "lazytorch", "run", script) == run(script)


def test_every_example_is_here_and_in_the_readme() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SHORT, "running", "tutorial"}
    readme = (EXAMPLES.parent / "README.md").read_text()
    assert [name for name in SHORT if f"examples/{name}.py" not in readme] == []


@pytest.mark.parametrize("name", SHORT)
def test_the_first_losses_are_torchs(name: str, tmp_path: Path) -> None:
    script = str(EXAMPLES / f"{name}.py")
    losses = {}
    for who, command in (("torch", (script,)), ("lazytorch", ("-m", "lazytorch", "run", script))):
        file = tmp_path / who
        run(*command, *SHORT[name], "--plot", "", "--losses", str(file))
        losses[who] = [float(line) for line in file.read_text().splitlines()]
    assert len(losses["torch"]) == int(SHORT[name][-1])
    assert losses["lazytorch"] == pytest.approx(losses["torch"], rel=1e-4)


def test_the_digits_are_learned() -> None:
    out = run("-m", "lazytorch", "run", str(EXAMPLES / "digits.py"), "--plot", "")
    assert float(out.split()[-1].rstrip("%")) >= 97


def test_an_example_draws_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "club.png"
    out = run("-m", "lazytorch", "run", str(EXAMPLES / "graph_convolution.py"), "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert int(out.split("right about ")[1].split()[0]) >= 30
