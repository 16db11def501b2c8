"""The tools on IR text, through their command lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from lazytorch.__main__ import TOOLS, main
from lazytorch.ir.parser import parse_func
from lazytorch.ir.reduction import Reducer

FUNCTION = """
func @f(%x: tensor<2x3xf32>, %i: tensor<2xi64>) -> (tensor<2x3xf32>, tensor<f32>) {
  %0 = nn.relu %x : tensor<2x3xf32>
  %1 = tensor.gather %0, %i : tensor<2x3xf32>
  %2 = tensor.reduce_sum %1 {dims = [0, 1]} : tensor<f32>
  return %1, %2 : tensor<2x3xf32>, tensor<f32>
}
"""
KERNEL = """
loop.kernel @scale(%x: buffer<f32, [?, 1]>, %out: buffer<f32, [1]>, %m: index, %n: index, %factor: f32) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %2 = arith.constant 0.0 : f32
  loop.parallel %i = %0 to %m {
    %3 = loop.for %j = %0 to %n step %1 carrying (%4: f32 = %2) {
      %5 = loop.load %x, %i, %j : f32
      %6 = arith.fma %5, %factor, %4 : f32
      loop.yield %6
    }
    %7 = math.exp %3 : f32
    loop.store %7, %out, %i
  }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "module.mlir"
    path.write_text(FUNCTION)
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.mlir"
    path.write_text(KERNEL)
    return path


@pytest.mark.parametrize("how", ["--interpret", "--compare", "--seed=1"])
def test_a_function_is_run_on_given_arrays(file: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["--input=[[1, -2, 3], [4, 5, -6]]", "--input=[1, 1]"]
    assert main(["run-ir", str(file), *inputs, how]) == 0
    shown = capsys.readouterr().out
    assert "result 0: tensor<2x3xf32> = [[4., 5., 0.]," in shown and "result 1: tensor<f32> = 18." in shown


def test_a_function_is_run_on_another_device(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run-ir", str(file), "--input=iota", "--input=[0, 1]", "--device=cuda:0"]
    assert main(command) == 1
    assert "there is no device 'cuda:0'" in capsys.readouterr().err
    environment = {**os.environ, "LAZYTORCH_CUDA": "emulator"}
    outcome = subprocess.run(
        [sys.executable, "-m", "lazytorch", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert main(command[:-1]) == 0
    assert outcome.stdout == capsys.readouterr().out, outcome.stderr


def test_arrays_come_from_files_and_go_to_files(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    prefix = str(tmp_path / "out")
    assert main(["run-ir", str(file), f"--input={tmp_path / 'x.npy'}", "--input=zeros", f"--save={prefix}"]) == 0
    assert np.load(prefix + "1.npy") == 6.0


def test_random_arguments_are_those_of_the_seed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for seed in (1, 1, 2):
        assert main(["run-ir", str(file), "--input=random", "--input=[0, 1]", f"--seed={seed}"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize("how", ["--interpret", "--compare", "--chunks=2"])
def test_a_kernel_is_run_on_buffers_and_numbers(kernel: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["--input=[[1, 2], [3, 4]]", "--input=zeros(2)", "--input=2", "--input=2", "--input=0.5"]
    assert main(["run-ir", str(kernel), *inputs, how]) == 0
    numbers = re.search(r"%out: buffer<f32, \[1\]> = \[(.*)\]", capsys.readouterr().out)
    assert numbers and np.allclose([float(x) for x in numbers[1].split(",")], np.exp([1.5, 3.5]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=[1, 2]"], "is given an array of shape [2]"),
        (["--input=[[1, 2, 3], [4, 5, x]]"], "is neither a .npy file, nor JSON"),
        (["--input=none.npy"], "No such file"),
        (["--input=ones", "--input=[0.5, 1]"], "numbers of float64 are not i64"),
        (["--input=ones"] * 3, "@f takes 2 arguments but is given 3"),
        (["--function=g"], "expected the name of a function or kernel; there are @f"),
    ],
)
def test_wrong_arguments_are_the_callers_errors(
    file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run-ir", str(file), *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=[1, 2]"], "is given an array of 1 dimensions"),
        (["--input=random"], "needs a shape: random(4x8)"),
        (["--input=zeros(2x2)"], "@scale needs an --input for %out: buffer<f32, [1]> and what follows"),
        (["--stage=fused"], "a kernel has no stage fused"),
    ],
)
def test_wrong_arguments_of_kernels_are_the_callers_errors(
    kernel: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run-ir", str(kernel), *arguments])
    assert message in capsys.readouterr().err


def test_an_index_out_of_range_fails_compiled_and_interpreted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for how in ([], ["--interpret"]):
        assert main(["run-ir", str(file), "--input=ones", "--input=[0, 2]", *how]) == 1
        assert "IndexError: index 2 is out of bounds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "content"),
    [
        ("graph", "nn.relu"),
        ("tensor", "arith.maximum"),
        ("fused", "fused.kernel"),
        ("loop", "loop.kernel"),
        ("llvm", "define void"),
        ("asm", "@function"),
    ],
)
def test_every_stage_can_be_seen(file: Path, stage: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-ir", str(file), f"--stage={stage}"]) == 0
    assert content in capsys.readouterr().out


def test_translations_are_written(file: Path, kernel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.txt"
    assert main(["translate", str(file), "--to=stablehlo", "-o", str(out)]) == 0
    assert "stablehlo.gather" in out.read_text()
    for source in (file, kernel):
        assert main(["translate", str(source), "--to=asm", "--target=x86-64-v3"]) == 0
        assert ("zmm" not in (assembly := capsys.readouterr().out) and "ymm" in assembly) or "xmm" in assembly
    assert main(["translate", str(kernel), "--to=llvm"]) == 0
    assert "define void @scale" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["translate", str(kernel), "--to=stablehlo"])
    assert main(["translate", str(file), "--to=llvm", "--target=z80"]) == 1


def test_a_module_is_reduced_to_what_is_interesting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"  %{i} = arith.{'neg' if i % 3 else 'abs'} %{i - 1} : tensor<4xf32>" for i in range(1, 40)]
    lines[20:20] = ['  %s = tensor.reduce_sum %20 {dims = [0]} as "mean" : tensor<f32>   loc("train.py":3)']
    text = "\n".join([
        FUNCTION, "func @g(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<f32>) {",
        "  %0 = arith.add %x, %y : tensor<4xf32>", *lines, "  return %39, %s : tensor<4xf32>, tensor<f32>", "}",
    ])  # fmt: skip
    file = tmp_path / "big.mlir"
    file.write_text(text)
    command = f"{sys.executable} -c \"import sys; sys.exit('dims = [0]}}' not in open(sys.argv[1]).read())\""
    assert main(["reduce", str(file), f"--test={command}"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "func @g(%0: tensor<4xf32>) -> () {\n  %s = tensor.reduce_sum %0 {dims = [0]} : tensor<f32>\n  return\n}\n"
    )
    assert re.match(r"\d+ operations became 4 in \d+ tests", captured.err)
    assert main(["reduce", str(file), "--test=false"]) == 1
    assert "not interesting as it is" in capsys.readouterr().err


def test_a_kernel_is_reduced_too() -> None:
    reducer = Reducer(KERNEL, lambda text: "math.exp" in text)
    assert [operation.name for operation in parse_func(reducer.reduce()).walk()] == [
        "loop.kernel",
        "arith.constant",
        "math.exp",
        "loop.return",
    ]
    assert reducer.tests < 60


def test_every_tool_has_an_entry_point_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert {entry.partition(":")[0] for entry in scripts.values()} == {module for module, _ in TOOLS.values()}
    for script, entry in scripts.items():
        module, _, name = entry.partition(":")
        with pytest.raises(SystemExit, match="0"):
            getattr(import_module(module), name)(["--help"])
        assert f"usage: {script} " in capsys.readouterr().out


@pytest.mark.parametrize("tool", [["opt"], ["run-ir"], ["translate", "--to=llvm"], ["reduce", "--test=true"]])
def test_what_is_no_text_is_refused_with_its_place(
    tool: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "binary.mlir"
    file.write_bytes(b"func @f() {\n  \xff\n}")
    assert main([*tool, str(file)]) == 1
    assert f"{file}:2:3: error: this byte is no UTF-8 text" in capsys.readouterr().err
    assert main([*tool, str(tmp_path / "missing.mlir")]) == 1
    assert "FileNotFoundError" in capsys.readouterr().err
