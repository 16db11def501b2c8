"""Crash reproducers: a failing run of passes in one file, which `lazytorch-opt --run-reproducer FILE` repeats.

The file is the input module with a head of comments: the pipeline, whether every pass is verified, the settings that
differ from their defaults, and for the reader the error and the versions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lazytorch.config import Config, config

_HEAD = "// lazytorch reproducer"


@dataclass(frozen=True)
class Reproducer:
    """What is needed to repeat a run of passes: the input module, the pipeline, the settings as variables."""

    text: str
    pipeline: str
    verify_each: bool = False
    environment: Sequence[tuple[str, str]] = ()

    def write(self, error: BaseException, path: Path | None = None) -> Path:
        """Write the file (by default into the dump folder, else the temporary folder) and return where it is."""
        head = [_HEAD, f"// pipeline: {self.pipeline}", f"// verify-each: {str(self.verify_each).lower()}"]
        head += [f"// environment: {variable}={value}" for variable, value in self.environment]
        head += [f"// error: {line}" for line in f"{type(error).__name__}: {error}".splitlines()]
        head.append(f"// versions: Python {platform.python_version()}, NumPy {np.__version__}, {platform.platform()}")
        text = "\n".join([*head, "", self.text])
        if path is None:
            folder = Path(config.dump or tempfile.gettempdir())
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"lazytorch-reproducer-{hashlib.sha256(text.encode()).hexdigest()[:12]}.mlir"
        path.write_text(text, encoding="utf-8")
        return path


def read_reproducer(text: str) -> Reproducer:
    """The reproducer in the text of a file. Raises ValueError where the text is not one."""
    lines = text.splitlines()
    if lines[:1] != [_HEAD]:
        raise ValueError(f"the file is not a reproducer: its first line is not {_HEAD!r}")
    fields: dict[str, str] = {}
    environment: list[tuple[str, str]] = []
    for line in lines[1:]:
        if not line.startswith("// "):
            break
        name, _, value = line[3:].partition(": ")
        if name == "environment":
            variable, _, setting = value.partition("=")
            environment.append((variable, setting))
        else:
            fields.setdefault(name, value)
    if "pipeline" not in fields:
        raise ValueError("the reproducer names no pipeline")
    return Reproducer(text, fields["pipeline"], fields.get("verify-each") == "true", environment)


def changed_settings() -> list[tuple[str, str]]:
    """The settings that differ from their defaults, as (environment variable, text)."""
    changed = []
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        if value != setting.default:
            text = ",".join(value) if isinstance(value, tuple) else str(int(value) if isinstance(value, bool) else value)
            changed.append((setting.metadata["variable"], text))
    return changed
