"""The FileCheck tests of tests/ir/lit, run by lit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import lazytorch.codegen.passes  # noqa: F401  # its passes are known by name once it is imported
from lazytorch.ir.passes.registry import all_passes


def test_every_lit_test_passes(tmp_path: Path) -> None:
    folder = Path(__file__).parent / "lit"
    command = [
        sys.executable,
        "-c",
        "from lit.main import main; main()",
        "-v",
        f"--param=output={tmp_path}",
        str(folder),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "Passed" in outcome.stdout, outcome.stdout


def test_every_pass_has_such_a_test() -> None:
    texts = [path.read_text() for path in (Path(__file__).parent / "lit").glob("*.mlir")]
    runs = "\n".join(line for text in texts for line in text.splitlines() if line.startswith("// RUN:"))
    ours = [name for name, found in all_passes().items() if found.__module__.startswith("lazytorch.")]
    missing = [name for name in ours if not re.search(rf"[=,(']{name}[{{,)' ]", runs)]
    assert not missing
