"""lit: `RUN: %opt …` is lazytorch-opt, `%filecheck` is FileCheck, both with the Python that runs lit."""

import os
import sys
from pathlib import Path

import lit.formats

config.name = "lazytorch"  # noqa: F821  # lit defines it
config.test_format = lit.formats.ShTest(execute_external=False)  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.test_source_root = os.path.dirname(__file__)  # noqa: F821
config.test_exec_root = lit_config.params.get("output", config.test_source_root)  # noqa: F821
config.environment["PYTHONPATH"] = str(Path(__file__).parents[3])  # noqa: F821
config.substitutions += [  # noqa: F821
    ("%opt", f"{sys.executable} -m lazytorch.tools.opt"),
    ("%filecheck", f"{sys.executable} -m filecheck"),
]
