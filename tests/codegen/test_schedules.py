"""The loop IR of every schedule, for one target, as FileCheck describes it in schedules/*.mlir."""

from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import Options

from lazytorch.codegen import schedules
from lazytorch.codegen.target import target_named
from lazytorch.ir.dialects import fused
from lazytorch.ir.parser import parse_func
from lazytorch.ir.pass_manager import PassManager
from lazytorch.runtime.stages import function_text

FILES = sorted(Path(__file__).with_name("schedules").glob("*.mlir"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schedule_has_the_shape_that_its_file_describes(path, tmp_path):
    text = function_text(parse_func(path.read_text()), "loop", target_named("x86-64-v4"))
    (tmp_path / "loops").write_text(text or "\n")
    options = Options(str(path), str(tmp_path / "loops"), allow_empty=True)
    assert Matcher.from_opts(options).run() == 0, text


def test_every_schedule_has_a_file():
    formed = set()
    for path in FILES:
        func = parse_func(path.read_text())
        PassManager("decompose,fuse").run_on_func(func)
        formed |= {kernel.attributes.schedule for kernel in func.region.block if kernel.declaration is fused.kernel}
    assert formed == set(schedules._SCHEDULES)
