"""Builds pycuda where there is neither a GPU, nor a driver, nor the CUDA toolkit, and a `libcuda.so.1` that Python answers.

    python tools/build_pycuda.py [FOLDER]      prints the folder; put it on PYTHONPATH

The folder gets pycuda, built from its source distribution, and `libcuda.so.1`: every function of the driver that pycuda or
lazytorch names, each of which calls what `answer` was given for its name (tests/gpu/fake_driver.py answers with the PTX
emulator) and returns CUDA_ERROR_NOT_SUPPORTED where nothing was given. Headers of the driver come from NVIDIA's wheels on
PyPI. Needed: a C++ compiler with Python's headers, and pip. About a minute; a folder that is complete is left as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

PYCUDA = "2026.1"
HEADERS = ("nvidia-cuda-runtime-cu12==12.9.79", "nvidia-cuda-profiler-api-cu12==12.9.79")
CALLED_BY_LAZYTORCH = (  # what pycuda has no name for (runtime/cuda/libcuda.py)
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
)
VERSIONS = ("", "_v2", "_v3", "_v4")

LIBRARY = """
#include <stdint.h>
#include <string.h>
typedef uintptr_t W;  /* every argument of the driver is a word: an address, a handle or a number */
typedef int (*Answer)(W, W, W, W, W, W, W, W, W, W, W, W);
static struct {{ const char *name; Answer answer; }} table[] = {{
{names}
}};
static const char *refused_name = "";
static int closed = 0;  /* at the end of a process there is no Python to ask any more */
int answer(const char *name, Answer call) {{
  for (unsigned i = 0; i < sizeof table / sizeof *table; ++i)
    if (!strcmp(table[i].name, name)) {{ table[i].answer = call; return 0; }}
  return 1;
}}
const char *refused(void) {{ return refused_name; }}
void close_driver(void) {{ closed = 1; }}
#define FUNCTION(i, symbol) int symbol(W a, W b, W c, W d, W e, W f, W g, W h, W j, W k, W l, W m) {{ \\
  if (closed) return 0; \\
  if (!table[i].answer) {{ refused_name = table[i].name; return 801; }} \\
  return table[i].answer(a, b, c, d, e, f, g, h, j, k, l, m); }}
{functions}
"""


def main(arguments: list[str]) -> int:
    """Build into the folder named, else into one of the user's cache."""
    if shutil.which("g++") is None and "CXX" not in os.environ:
        print("build_pycuda: no C++ compiler (g++, or CXX): pycuda has no wheels and must be built", file=sys.stderr)
        return 1
    folder = Path(arguments[0]) if arguments else default_folder()
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            build(Path(scratch))
            (Path(scratch) / "made" / "complete").touch()
            (Path(scratch) / "made").rename(folder)
    print(folder)
    return 0


def default_folder() -> Path:
    """A folder for what this file builds with this Python."""
    key = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lazytorch-tools" / f"pycuda-{key}"


def build(scratch: Path) -> None:
    """Everything, into scratch/made."""
    downloads, made = scratch / "downloads", scratch / "made"
    made.mkdir()
    download = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", downloads)
    run(*download, *HEADERS)
    run(*download, "--no-binary", "pycuda", f"pycuda=={PYCUDA}")
    with tarfile.open(next(downloads.glob("pycuda-*.tar.gz"))) as archive:
        archive.extractall(scratch, filter="data")
    includes = []
    for wheel in downloads.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(scratch / "headers")
    for folder in sorted((scratch / "headers" / "nvidia").glob("*/include")):
        includes.append(str(folder))
    source = scratch / f"pycuda-{PYCUDA}"
    library(source, made)
    settings = f"""
CUDA_ROOT = {str(scratch)!r}
CUDA_INC_DIR = {includes!r}
CUDADRV_LIB_DIR = [{str(made)!r}]
CUDA_ENABLE_CURAND = False
USE_SHIPPED_BOOST = True
CXXFLAGS = ["-O0", "-w"]
"""
    (source / "siteconf.py").write_text(settings)
    (made / "libcuda.so").symlink_to("libcuda.so.1")
    run(sys.executable, "-m", "pip", "install", "-q", "--target", made, "--no-deps", source)
    run(sys.executable, "-m", "pip", "install", "-q", "--target", made, "--no-deps", "pytools", "platformdirs", "siphash24")
    (made / "libcuda.so").unlink()


def library(source: Path, made: Path) -> None:
    """libcuda.so.1."""
    mentioned: set[str] = set(CALLED_BY_LAZYTORCH)
    for path in (*source.glob("src/cpp/*"), *source.glob("src/wrapper/*")):
        mentioned.update(re.findall(r"\bcu[A-Z]\w+", path.read_text()))
    base = sorted({re.sub(r"_v\d$", "", name) for name in mentioned})
    names = [name + version for name in base for version in VERSIONS]
    text = LIBRARY.format(
        names="\n".join(f'{{"{name}", 0}},' for name in names),
        functions="\n".join(f"FUNCTION({number}, {name})" for number, name in enumerate(names)),
    )
    (made / "libcuda.c").write_text(text)
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC").split()[0]
    options = ("-w", "-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1")
    run(compiler, *options, "-o", made / "libcuda.so.1", made / "libcuda.c")


def run(*command: object) -> None:
    """A command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"build_pycuda: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
