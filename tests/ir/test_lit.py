"""The FileCheck tests of tests/ir/lit, run by lit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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
