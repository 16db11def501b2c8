"""The pages about the IR say what is so: their code runs, their grammar is the parser's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lazytorch import dtypes
from lazytorch.codegen import passes
from lazytorch.ir.core import func
from lazytorch.ir.declaration import declaration_named
from lazytorch.ir.parser import parse_module
from lazytorch.ir.pipeline import ANCHORS, parse_pipeline
from lazytorch.ir.verifier import verify

DOCS = Path(__file__).parents[2] / "docs"
IR = (DOCS / "ir.md").read_text()


def test_the_page_about_adding_an_operation_runs_as_it_is_written() -> None:
    """In a process of its own: the page declares operations."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "adding-an-op.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=DOCS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_first_module_of_the_page_verifies() -> None:
    module = parse_module(re.findall(r"```mlir\n(.*?)```", IR, re.DOTALL)[0])
    verify(module)


def grammar() -> dict[str, str]:
    text = re.search(r"<!-- grammar -->\n```\n(.*?)```", IR, re.DOTALL)
    assert text
    rules = [rule.partition("=") for rule in re.split(r";\n\n?", text[1].strip().rstrip(";") + "\n") if rule.strip()]
    return {name.strip(): definition for name, _, definition in rules}


def test_every_word_of_the_grammar_is_defined() -> None:
    rules = grammar()
    for name, definition in rules.items():
        used = set(re.findall(r"\b[a-z]+\b", re.sub(r'"[^"]*"', " ", definition)))
        if name == "string":
            continue
        assert used <= rules.keys() | {"letter", "digit"}, name


def test_the_grammar_names_all_element_types_and_special_forms() -> None:
    rules = grammar()
    named = set(re.findall(r'"([^"]+)"', rules["dtype"]))
    assert named == {dtype.name for dtype in dtypes.ALL}
    tops = re.findall(r'"([\w.]+)"', rules["function"].partition(")")[0])
    assert [func if top == "func" else declaration_named(top) for top in tops] == list(ANCHORS.values())


@pytest.mark.parametrize("text", re.findall(r"^(canonicalize\{.*)$", IR, re.MULTILINE))
def test_the_pipeline_of_the_page_is_one(text: str) -> None:
    assert passes
    assert len(parse_pipeline(text)) == 5
