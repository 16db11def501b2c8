"""The project as a whole: its settings, its error messages, and that its texts agree with its code."""

from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lazytorch.config import Config, config, describe
from lazytorch.errors import CompileError, OutOfMemoryError, ParseError, VerificationError

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_FILES = sorted((ROOT / "lazytorch").rglob("*.py"))
TEXT_SUFFIXES = {".py", ".md", ".toml", ".mlir", ".yaml", ".yml", ".txt", ".sh", ".ipynb", ""}
IGNORED_FOLDERS = {".git", ".venv", "build", "dist", "__pycache__"}


def project_texts() -> list[Path]:
    """The project's own text files: not version control's, not a virtual environment's, not a tool's cache."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in IGNORED_FOLDERS and not name.endswith("_cache")]
        found += [Path(folder, name) for name in names if Path(name).suffix in TEXT_SUFFIXES]
    return [path for path in found if ".hypothesis" not in path.parts]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("On", True), ("yes", True), ("0", False), ("FALSE", False), ("off", False)],
)
def test_a_boolean_setting_reads_the_usual_spellings(text: str, value: bool) -> None:
    assert Config.from_environment({"LAZYTORCH_EAGER": text}).eager is value


def test_the_environment_sets_numbers_texts_and_lists() -> None:
    settings = Config.from_environment(
        {"LAZYTORCH_NUM_THREADS": "3", "LAZYTORCH_TARGET": "x86-64-v3", "LAZYTORCH_LOG": "sync, cache", "HOME": "x"}
    )
    assert (settings.num_threads, settings.target, settings.log) == (3, "x86-64-v3", ("sync", "cache"))


def test_an_unset_or_empty_variable_leaves_the_default() -> None:
    assert Config.from_environment({"LAZYTORCH_FUSE": "", "LAZYTORCH_CACHE_BYTES": " "}) == Config()
    assert Config().fuse
    assert Config().cache_bytes == 512 * 1024 * 1024


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LAZYTORCH_FUSE", "maybe"),
        ("LAZYTORCH_NUM_THREADS", "many"),
        ("LAZYTORCH_NUM_THREADS", "-1"),
        ("LAZYTORCH_FLUSH_NODES", "0"),
        ("LAZYTORCH_LOG", "sync,everything"),
    ],
)
def test_a_wrong_value_in_the_environment_raises_an_error_that_names_the_variable(variable: str, text: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Config.from_environment({variable: text})


def test_a_misspelt_variable_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"LAZYTORCH_FUZE is not a setting.*LAZYTORCH_FUSE"):
        Config.from_environment({"LAZYTORCH_FUZE": "0"})


def test_a_with_block_changes_settings_and_restores_them_even_after_an_error() -> None:
    before = (config.fuse, config.num_threads)
    with pytest.raises(KeyError), config(fuse=False, num_threads=7):
        assert (config.fuse, config.num_threads) == (False, 7)
        with config(num_threads=8):
            assert (config.fuse, config.num_threads) == (False, 8)
        assert config.num_threads == 7
        raise KeyError
    assert (config.fuse, config.num_threads) == before


def test_a_with_block_with_one_wrong_setting_changes_none() -> None:
    before = config.fuse
    with pytest.raises(TypeError, match=r"config\.verify"), config(fuse=not before, verify="yes"):
        pass
    with pytest.raises(TypeError, match="fuze"), config(fuse=not before, fuze=False):
        pass
    assert config.fuse is before


def test_assigning_a_setting_checks_its_name_type_and_range() -> None:
    settings = Config()
    settings.num_threads = 2
    assert settings.num_threads == 2
    with pytest.raises(AttributeError, match=r"no setting 'treads'; there are fuse"):
        settings.treads = 2  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"config.num_threads: expected int, got bool"):
        settings.num_threads = True
    with pytest.raises(ValueError, match=r"config.flush_nodes: must be at least 1"):
        settings.flush_nodes = 0
    with pytest.raises(ValueError, match=r"'all' is none of sync, compile, cache"):
        settings.log = ("all",)
    assert settings == Config(num_threads=2)


def test_the_cache_folder_is_the_one_that_was_set_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("caches", "here"))
    assert Config().cache_folder() == Path("caches", "here", "lazytorch")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert Config().cache_folder() == Path.home() / ".cache" / "lazytorch"
    assert Config(cache_dir=os.path.join("~", "kernels")).cache_folder() == Path.home() / "kernels"


def test_the_tests_use_a_kernel_cache_of_their_own() -> None:
    assert "lazytorch-test-cache-" in config.cache_folder().name


def test_the_settings_page_is_what_the_declarations_generate() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == describe(), "run `make docs`"


def test_a_compile_error_says_where_and_how_to_reproduce_it() -> None:
    error = CompileError(
        "operand shapes differ", stage="after pass 'fuse'", location="train.py:12", reproduce="lazytorch-opt FILE"
    )
    assert str(error) == "after pass 'fuse': operand shapes differ   [train.py:12]\n  reproduce: lazytorch-opt FILE"
    assert str(VerificationError("no terminator")) == "no terminator"


def test_a_parse_error_points_at_the_column_under_tabs_too() -> None:
    assert str(ParseError("expected a type", "a.mlir", 3, 3, "\tx?")) == "a.mlir:3:3: error: expected a type\n  \tx?\n  \t ^"
    assert str(ParseError("unexpected end", "a.mlir", 9, 1)) == "a.mlir:9:1: error: unexpected end"


@pytest.mark.parametrize(
    "error",
    [
        ParseError("expected a type", "a.mlir", 3, 3, "x"),
        VerificationError("rule", stage="s", location="a.py:1", reproduce="r"),
        OutOfMemoryError("no memory"),
    ],
)
def test_an_error_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_the_package_never_imports_torch() -> None:
    found = []
    for path in PACKAGE_FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found += [f"{path}:{node.lineno}" for name in names if name.split(".")[0] == "torch"]
    assert PACKAGE_FILES
    assert not found


def test_importing_the_package_loads_no_compiler_library() -> None:
    program = "import sys, lazytorch; print(sorted({'torch', 'llvmlite', 'pycuda'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_names_a_path_of_one_machine_or_a_package_registry() -> None:
    forbidden = re.compile(r"(?<![\w.}~])/(?:home|root|Users|tmp|work)/|pypi\.org|pythonh[o]sted\.org")
    found = []
    for path in project_texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found


def test_every_marked_readme_command_is_one_line_in_a_fence() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    marked = [index for index, line in enumerate(lines) if re.fullmatch(r"<!-- [a-z]+-command -->", line)]
    assert "<!-- test-command -->" in {lines[index] for index in marked}
    for index in marked:
        assert lines[index + 1] == "```sh"
        assert lines[index + 2].startswith("python -m venv .venv && ")
        assert lines[index + 3] == "```"


def test_every_relative_link_of_the_documentation_leads_to_a_file() -> None:
    broken = []
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_the_changelog_names_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
