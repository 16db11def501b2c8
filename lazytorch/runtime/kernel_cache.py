"""Object code on disk, so that a program compiled once starts without compiling.

An entry is one file, `FOLDER/ab/cdef….o`, named by its key: a digest of all that the code depends on. It starts with
a header that holds a digest of key and code, so a file that was truncated, damaged or renamed is not believed: it is
removed, the caller compiles and writes it anew. Loading object code is running it, so files and folders that another
user owns or may write to are ignored. Files are written under a temporary name and renamed, so readers and any number
of writers never see half a file. The folder is kept under `config.cache_bytes` by removing what was used longest ago.

A cache that cannot be read or written (no space, no permission) is no error: things are compiled again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lazytorch.config import config
from lazytorch.runtime.statistics import STATISTICS

_MAGIC = b"LTOBJ\x00\x00\x01"
_HEADER = struct.Struct("<8sQ32s")  # magic and version, length of the code, sha256 of key and code
_SUFFIX = ".o"
_EVICT_TO = 0.8
_SCAN_EVERY = 256


@dataclass(frozen=True)
class CacheInfo:
    """What a cache folder holds: number of entries and their bytes."""

    folder: Path
    entries: int
    bytes: int
    limit: int


class KernelCache:
    """Object code by key in one folder, at most about `limit` bytes of it. The folder is made at the first `put`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._bytes = 0  # as far as this process knows; counted anew when a scan is due
        self._puts_until_scan = 0

    def get(self, key: str) -> bytes | None:
        """The code stored under `key` (hexadecimal digits), or None. A hit counts as a use for eviction."""
        path = self._path(key)
        code = self._read(path, key) if _is_ours(self.folder) and _is_ours(path.parent) else None
        if code is None:
            STATISTICS.disk_cache_misses += 1
            return None
        STATISTICS.disk_cache_hits += 1
        return code

    def put(self, key: str, code: bytes) -> None:
        """Store `code` under `key`, in place of what is there. Does nothing where the folder cannot be used."""
        path = self._path(key)
        entry = _HEADER.pack(_MAGIC, len(code), _digest(key, code)) + code
        if len(entry) > self.limit:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if not (_is_ours(self.folder) and _is_ours(path.parent)):
                return
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(entry)
                os.replace(temporary, path)
            except OSError:
                _remove(temporary)
                return
        except OSError:
            return
        self._account(len(entry))

    def clear(self) -> int:
        """Remove every entry, and what interrupted writers left; returns how many entries there were."""
        removed = sum(_remove(path) for path, _ in self._entries())
        for leftover in self.folder.glob(f"??/.*{_SUFFIX}.*"):
            _remove(leftover)
        self._bytes = 0
        return removed

    def info(self) -> CacheInfo:
        """Number and size of the entries."""
        entries = self._entries()
        return CacheInfo(self.folder, len(entries), sum(status.st_size for _, status in entries), self.limit)

    def _path(self, key: str) -> Path:
        if len(key) < 16 or not set(key) <= set("0123456789abcdef"):
            raise ValueError(f"a cache key is at least 16 hexadecimal digits, got {key!r}")
        return self.folder / key[:2] / (key[2:] + _SUFFIX)

    def _read(self, path: Path, key: str) -> bytes | None:
        """The code in the file, or None; a file of ours that does not hold what its name says is removed."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not _is_private(status) or not stat.S_ISREG(status.st_mode):
                    return None
                entry = file.read()
                os.utime(descriptor)
        except OSError:
            return None
        if len(entry) >= _HEADER.size:
            magic, length, digest = _HEADER.unpack_from(entry)
            code = entry[_HEADER.size :]
            if magic == _MAGIC and length == len(code) and digest == _digest(key, code):
                return code
        _remove(path)
        return None

    def _account(self, added: int) -> None:
        """Keep the folder under its limit; other processes write too, so what is there is counted now and then."""
        self._bytes += added
        self._puts_until_scan -= 1
        if self._puts_until_scan >= 0 and self._bytes <= self.limit:
            return
        entries = self._entries()
        self._bytes = sum(status.st_size for _, status in entries)
        self._puts_until_scan = _SCAN_EVERY
        if self._bytes <= self.limit:
            return
        for path, status in sorted(entries, key=lambda entry: entry[1].st_mtime_ns):
            if self._bytes <= self.limit * _EVICT_TO:
                break
            if _remove(path):
                self._bytes -= status.st_size

    def _entries(self) -> list[tuple[Path, os.stat_result]]:
        """All entry files with their status; those that vanish meanwhile are left out."""
        found = []
        for path in self.folder.glob(f"??/[0-9a-f]*{_SUFFIX}"):
            try:
                found.append((path, path.lstat()))
            except OSError:
                continue
        return found


def kernel_cache() -> KernelCache | None:
    """The cache that the settings name, or None when `config.cache` is off."""
    return _cache_at(config.cache_folder(), config.cache_bytes) if config.cache else None


def cache_key(*parts: str) -> str:
    """The key for code that depends on `parts`: the text (or a descriptor), the target's fingerprint and so on."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


@cache
def generator_digest() -> str:
    """A digest of the compiler's own source: part of keys that name what was compiled instead of its LLVM text."""
    return source_digest(Path(__file__).parents[1])


def source_digest(package: Path) -> str:
    """A digest of the names and contents of all files that code is generated by."""
    digest = hashlib.sha256()
    for folder in ("ir", "codegen"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(str(path.relative_to(package)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _cache_at(folder: Path, limit: int) -> KernelCache:
    return KernelCache(folder, limit)


def _digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def _is_private(status: os.stat_result) -> bool:
    """True for what this user owns and nobody else may write to."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_ours(folder: Path) -> bool:
    """True for a folder (not a link to one) that only this user may write to."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and _is_private(status)


def _remove(path: Path) -> bool:
    """Unlink; False when there was nothing to unlink or it is not allowed."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
