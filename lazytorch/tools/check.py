"""`python -m lazytorch run --check SCRIPT`: which torch names a script uses that lazytorch lacks, before anything runs.

The script is read, not run: names are those that imports bind and the attributes of them (`nn.Linear`, `torch.optim.SGD`).
What a method of some object is called on only a run shows.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

_TORCH, _OURS = "torch", "lazytorch"


class Missing(NamedTuple):
    """A name that a script uses and lazytorch lacks, and the first line that does."""

    line: int
    name: str


def is_there(name: str) -> bool:
    """Whether a dotted name of torch can be resolved, as far as it names modules, classes and what stands in them."""
    found: object = importlib.import_module(_OURS)
    path = _OURS
    for part in name.split(".")[1:]:
        if not isinstance(found, ModuleType | type):
            return True
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            if not isinstance(found, ModuleType):
                return False
            try:
                found = importlib.import_module(path)
            except ModuleNotFoundError:
                return False
    return True


class _Names(ast.NodeVisitor):
    """Collects the torch names of a script, with the lines that first use them."""

    def __init__(self) -> None:
        self.bound: dict[str, str] = {}
        self.used: dict[str, int] = {}

    def _use(self, name: str, line: int) -> None:
        self.used.setdefault(name, line)

    def visit_Import(self, node: ast.Import) -> None:
        """`import torch.nn as nn` binds nn, `import torch.nn` binds torch."""
        for alias in node.names:
            if alias.name.partition(".")[0] == _TORCH:
                self._use(alias.name, node.lineno)
                self.bound[alias.asname or _TORCH] = alias.name if alias.asname else _TORCH

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from torch import nn` binds nn."""
        module = node.module or ""
        if node.level or module.partition(".")[0] != _TORCH:
            return
        self._use(module, node.lineno)
        for alias in node.names:
            if alias.name != "*":
                self._use(f"{module}.{alias.name}", node.lineno)
                self.bound[alias.asname or alias.name] = f"{module}.{alias.name}"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """The longest chain of attributes that begins with a bound name."""
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if isinstance(at, ast.Name) and at.id in self.bound and isinstance(node.ctx, ast.Load):
            self._use(".".join([self.bound[at.id], *reversed(parts)]), node.lineno)
        else:
            self.generic_visit(node)


def missing_names(source: str, filename: str = "<script>") -> list[Missing]:
    """The torch names in a program's text that lazytorch lacks, by line. Raises SyntaxError for what is no program."""
    tree = ast.parse(source, filename)
    names = _Names()
    for node in ast.walk(tree):  # imports first: a function may use what is imported below it
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.visit(node)
    names.visit(tree)
    return sorted(Missing(line, name) for name, line in names.used.items() if not is_there(name))


def check(script: str) -> int:
    """Print the names that a script needs and lazytorch lacks; the exit status, 1 if there are any."""
    missing = missing_names(Path(script).read_text(), script)
    for line, name in missing:
        print(f"{script}:{line}: {name} is not in lazytorch")
    if not missing:
        print(f"{script}: every torch name is there")
    return int(bool(missing))
