"""The settings of lazytorch: one typed object, `config`, read from the environment when it is made.

A setting is declared once, as a field of `Config` with its environment variable, default and meaning; the parsing, the
checks and the table in docs/configuration.md are derived from that declaration.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

_PAGE_HEAD = """# Settings

Every setting can be given as an environment variable, which is read when lazytorch is imported, assigned
(`config.fuse = False`), or changed for a block:

```python
from lazytorch.config import config

with config(fuse=False):
    ...
```

A value that does not fit raises an error that names the variable. This page is generated: `make docs` writes it from
the declarations in `lazytorch/config.py`.
"""


def _setting(
    variable: str,
    default: object,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: int | None = None,
    default_text: str = "",
) -> Any:
    """Declare one setting. `choices` are the words a list may hold; `minimum` the least allowed number."""
    metadata = {
        "variable": variable,
        "meaning": meaning,
        "choices": choices,
        "minimum": minimum,
        "default_text": default_text,
    }
    return field(default=default, metadata=metadata)


@dataclass(slots=True, kw_only=True)
class Config:
    """Process-wide settings. Reading one is one attribute load.

    Assigning checks type and range (TypeError, ValueError); an unknown name is an AttributeError.
    `with config(fuse=False):` changes settings for a block and puts the old values back after it. Settings belong to
    the process, not to a thread.
    """

    fuse: bool = _setting("LAZYTORCH_FUSE", True, "Merge operations into shared kernels.")
    eager: bool = _setting("LAZYTORCH_EAGER", False, "Run every operation as soon as it is recorded.")
    target: str = _setting(
        "LAZYTORCH_TARGET",
        "",
        "CPU to compile for, as LLVM names it (`x86-64-v3`, `znver4`).",
        default_text="this machine's CPU",
    )
    cache: bool = _setting("LAZYTORCH_CACHE", True, "Keep compiled kernels on disk and load them from there.")
    cache_dir: str = _setting(
        "LAZYTORCH_CACHE_DIR",
        "",
        "Folder of the kernel cache.",
        default_text="`$XDG_CACHE_HOME/lazytorch`, else `~/.cache/lazytorch`",
    )
    cache_bytes: int = _setting(
        "LAZYTORCH_CACHE_BYTES",
        512 * 1024 * 1024,
        "Size the kernel cache is kept under, in bytes.",
        minimum=0,
        default_text="`536870912` (512 MiB)",
    )
    dump: str = _setting(
        "LAZYTORCH_DUMP", "", "Folder to write every program to, at every stage.", default_text="nothing is written"
    )
    log: tuple[str, ...] = _setting(
        "LAZYTORCH_LOG",
        (),
        "What to report on stderr: a comma-separated list of `sync`, `compile`, `cache`, and of compiled functions "
        "`recompiles` and `graph_breaks`.",
        choices=("sync", "compile", "cache", "recompiles", "graph_breaks"),
        default_text="nothing",
    )
    verify: bool = _setting("LAZYTORCH_VERIFY", False, "Verify the IR after every pass.")
    check: bool = _setting(
        "LAZYTORCH_CHECK",
        False,
        "Run the reference interpreter before and after every pass and beside every kernel, on the real inputs, and name "
        "the first that changes a result: slow, for finding bugs.",
    )
    num_threads: int = _setting(
        "LAZYTORCH_NUM_THREADS",
        0,
        "Threads that run a kernel.",
        minimum=0,
        default_text="`0`: one for each core",
    )
    flush_nodes: int = _setting(
        "LAZYTORCH_FLUSH_NODES",
        3000,
        "Recorded operations after which what nobody asked for is run where a loop comes round, at twice as many anyhow.",
        minimum=1,
    )
    interpret: bool = _setting(
        "LAZYTORCH_INTERPRET",
        False,
        "Run programs through the NumPy meaning of each operation instead of compiled code: slow, for finding bugs.",
    )
    cuda: str = _setting(
        "LAZYTORCH_CUDA",
        "",
        "`emulator` (`emulator:sm_90` and so on, `emulator:sm_90:2` for two): a PTX emulator as the CUDA device; `off`: no "
        "CUDA devices.",
        default_text="what the NVIDIA driver has",
    )
    cuda_sync: bool = _setting(
        "LAZYTORCH_CUDA_SYNC", False, "Wait for every kernel on a CUDA device, so that an error names the one that failed."
    )
    ptxas: str = _setting(
        "LAZYTORCH_PTXAS",
        "",
        "NVIDIA's assembler, for `lazytorch.explain` and `dump(y, stage='sass')`.",
        default_text="on PATH, or in a wheel of PyPI",
    )
    tf32: bool = _setting(
        "LAZYTORCH_TF32",
        False,
        "Let GPUs take the 10 upper bits of the fractions in products of float32 (tf32), as "
        "`torch.backends.cuda.matmul.allow_tf32` does.",
    )
    host_random: bool = _setting(
        "LAZYTORCH_HOST_RANDOM",
        False,
        "Draw the random numbers of CUDA tensors with the CPU's generator: a program gets the same ones on every device.",
    )
    device: str = _setting("LAZYTORCH_DEVICE", "cpu", "Device of tensors that are made without `device=`.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Settings with the environment's values; an unset or empty variable leaves the default.

        Raises ValueError naming the variable when its value does not fit. An unknown `LAZYTORCH_` variable is most
        likely a misspelt one: it gives a warning.
        """
        by_variable = {setting.metadata["variable"]: setting for setting in fields(cls)}
        values: dict[str, object] = {}
        for variable in sorted(environment):
            if not variable.startswith("LAZYTORCH_"):
                continue
            if variable not in by_variable:
                known = ", ".join(by_variable)
                warnings.warn(f"{variable} is not a setting of lazytorch; there are {known}", stacklevel=2)
            elif text := environment[variable].strip():
                values[by_variable[variable].name] = _parse(by_variable[variable], text)
        return cls(**values)  # type: ignore[arg-type]  # _parse returns each field's own type

    def __setattr__(self, name: str, value: object) -> None:
        setting = type(self).__dataclass_fields__.get(name)
        if setting is None:
            raise AttributeError(f"lazytorch has no setting {name!r}; there are {', '.join(self.__dataclass_fields__)}")
        _check(setting, value, f"config.{name}")
        object.__setattr__(self, name, value)

    @contextmanager
    def __call__(self, **changes: object) -> Iterator[Self]:
        """Change settings for a `with` block or a decorated function. All values are checked before any is changed."""
        for name, value in changes.items():
            if name not in self.__dataclass_fields__:
                raise TypeError(f"config() got an unexpected keyword argument {name!r}")
            _check(self.__dataclass_fields__[name], value, f"config.{name}")
        before = {name: getattr(self, name) for name in changes}
        try:
            for name, value in changes.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def cache_folder(self) -> Path:
        """Where compiled kernels are kept: `cache_dir`, else a folder in the user's cache folder. It may not exist."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser()
        user_cache = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(user_cache) if user_cache else Path.home() / ".cache") / "lazytorch"


def _parse(setting: Field[Any], text: str) -> object:
    """The value that an environment variable's text stands for. Raises ValueError naming the variable."""
    name = f"environment variable {setting.metadata['variable']}={text!r}"
    value: object = text
    if setting.type is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{name}: expected 1 or 0 (or true, false, yes, no, on, off)")
        value = _BOOLEANS[text.lower()]
    elif setting.type is int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{name}: expected a whole number") from None
    elif setting.type is not str:
        value = tuple(word.strip() for word in text.split(",") if word.strip())
    _check(setting, value, name)
    return value


def _check(setting: Field[Any], value: object, name: str) -> None:
    """Raise TypeError or ValueError, naming the setting as `name`, when `value` does not fit it."""
    choices, minimum = setting.metadata["choices"], setting.metadata["minimum"]
    if setting.type not in (bool, int, str):
        if not isinstance(value, tuple):
            raise TypeError(f"{name}: expected a tuple of str, got {type(value).__name__}")
        wrong = [word for word in value if word not in choices]
        if wrong:
            raise ValueError(f"{name}: {wrong[0]!r} is none of {', '.join(choices)}")
    elif type(value) is not setting.type:
        raise TypeError(f"{name}: expected {setting.type.__name__}, got {type(value).__name__}")
    elif minimum is not None and value < minimum:
        raise ValueError(f"{name}: must be at least {minimum}")


_KINDS: dict[object, str] = {bool: "bool", int: "int", str: "str"}


def describe() -> str:
    """The page docs/configuration.md: all settings with environment variable, type, default and meaning."""
    rows = [_PAGE_HEAD, "| setting | environment variable | type | default | meaning |", "|---|---|---|---|---|"]
    for setting in fields(Config):
        kind = _KINDS.get(setting.type, "list")
        shown = int(setting.default) if isinstance(setting.default, bool) else setting.default
        default = setting.metadata["default_text"] or f"`{shown}`"
        columns = (f"`{setting.name}`", f"`{setting.metadata['variable']}`", kind, default, setting.metadata["meaning"])
        rows.append(f"| {' | '.join(columns)} |")
    return "\n".join(rows) + "\n"


config = Config.from_environment()
