"""Weights from the net (torch.hub): downloaded once, to the folder where torch keeps them. Code is not downloaded."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

from lazytorch.serialization import load as load_file

__all__ = ["download_url_to_file", "get_dir", "load_state_dict_from_url", "set_dir"]

_HASH = re.compile(r"-([a-f0-9]*)\.")
_BLOCK = 1 << 16
_chosen: list[str] = []


def get_dir() -> str:
    """The folder of downloads: what `set_dir` said, else `$TORCH_HOME/hub`, else `~/.cache/torch/hub`."""
    if _chosen:
        return _chosen[0]
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Choose the folder of downloads."""
    _chosen[:] = [os.path.expanduser(d)]


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download a file; what is there already is replaced once all of the new one has come.

    Raises RuntimeError when the SHA-256 does not begin with `hash_prefix`.
    """
    digest = hashlib.sha256()
    folder = Path(dst).expanduser().absolute().parent
    request = urllib.request.Request(url, headers={"User-Agent": "torch.hub"})
    with (
        urllib.request.urlopen(request) as answer,
        tempfile.NamedTemporaryFile(dir=folder, delete=False, suffix=".partial") as file,
    ):
        try:
            while block := answer.read(_BLOCK):
                file.write(block)
                digest.update(block)
            file.close()
            if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
            shutil.move(file.name, dst)
        finally:
            Path(file.name).unlink(missing_ok=True)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """What is in a file of the net, downloaded unless it is there. check_hash: its name ends in -HASH, and must fit."""
    folder = Path(model_dir) if model_dir is not None else Path(get_dir()) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    kept = folder / name
    if not kept.exists():
        print(f'Downloading: "{url}" to {kept}', file=sys.stderr)
        found = _HASH.search(name) if check_hash else None
        download_url_to_file(url, str(kept), found.group(1) if found else None, progress)
    return load_file(str(kept), map_location=map_location, weights_only=weights_only)


def load(*arguments: Any, **keywords: Any) -> NoReturn:
    """Raises NotImplementedError: the code of a repository would run against PyTorch itself."""
    raise NotImplementedError(
        "torch.hub.load runs code of a repository, which is not supported. Install the model's package, or clone the "
        "repository, and run your script with `python -m lazytorch run`; load_state_dict_from_url gets weights"
    )


def __getattr__(name: str) -> Any:
    """Everything else is missing."""
    raise AttributeError(f"module 'torch.hub' has no attribute {name!r}: lazytorch downloads weights, not code")
