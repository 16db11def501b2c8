"""The cache on disk gives back what was put in, or nothing: never anything damaged, foreign or half written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lazytorch.codegen.target import host_target
from lazytorch.config import config
from lazytorch.runtime.engine import engine
from lazytorch.runtime.kernel_cache import KernelCache, cache_key, generator_digest, kernel_cache, source_digest
from lazytorch.runtime.statistics import STATISTICS

KEY = cache_key("kernel", "target")
CODE = bytes(range(256)) * 8


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "kernels", limit=1_000_000)


def only_file(cache: KernelCache) -> Path:
    (path,) = cache.folder.glob("*/*.o")
    return path


def test_what_was_put_is_found_again_also_by_another_process(cache: KernelCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, CODE)
    assert cache.get(KEY) == CODE
    assert KernelCache(cache.folder, limit=1_000_000).get(KEY) == CODE


def test_only_the_owner_may_read_files_and_folders(cache: KernelCache) -> None:
    before = os.umask(0)
    try:
        cache.put(KEY, CODE)
    finally:
        os.umask(before)
    path = only_file(cache)
    assert [entry.stat().st_mode & 0o777 for entry in (path, path.parent, cache.folder)] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("position", [0, 7, 8, 16, 47, 48, 1000, -1])
def test_a_damaged_file_is_ignored_and_rewritten(cache: KernelCache, position: int) -> None:
    cache.put(KEY, CODE)
    path = only_file(cache)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, CODE)
    assert cache.get(KEY) == CODE


@pytest.mark.parametrize("length", [0, 1, 47, 48, 49, 2000])
def test_a_truncated_file_is_ignored(cache: KernelCache, length: int) -> None:
    cache.put(KEY, CODE)
    path = only_file(cache)
    os.truncate(path, length)
    assert cache.get(KEY) is None


def test_a_file_under_another_keys_name_is_ignored(cache: KernelCache) -> None:
    cache.put(KEY, CODE)
    path = only_file(cache)
    path.rename(path.with_name("0" * len(path.stem) + ".o"))
    assert cache.get(KEY[:2] + "0" * (len(KEY) - 2)) is None


def test_what_others_may_write_to_is_not_loaded(cache: KernelCache) -> None:
    cache.put(KEY, CODE)
    path = only_file(cache)
    for place, mode in ((path, 0o622), (path.parent, 0o777), (cache.folder, 0o770)):
        usual = place.stat().st_mode & 0o777
        place.chmod(mode)
        assert cache.get(KEY) is None
        place.chmod(usual)
    assert cache.get(KEY) == CODE


def test_a_symbolic_link_is_not_followed(cache: KernelCache, tmp_path: Path) -> None:
    cache.put(KEY, CODE)
    path = only_file(cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.get(KEY) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = KernelCache(tmp_path / "file" / "kernels", limit=1_000_000)
    cache.put(KEY, CODE)
    assert cache.get(KEY) is None
    assert cache.info().entries == cache.clear() == 0


def test_what_was_used_longest_ago_is_removed_first(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels", limit=10 * (len(CODE) + 48))
    keys = [cache_key(str(number)) for number in range(10)]
    for age, key in enumerate(keys):
        cache.put(key, CODE)
        os.utime(cache.folder / key[:2] / f"{key[2:]}.o", (age, age))
    assert cache.get(keys[0]) == CODE
    cache.put(KEY, CODE)
    assert cache.info().bytes <= cache.limit
    assert cache.get(KEY) == CODE
    assert cache.get(keys[0]) == CODE, "a hit counts as a use"
    assert cache.get(keys[1]) is None


def test_code_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "kernels", limit=100)
    cache.put(KEY, CODE)
    assert cache.info().entries == 0


def test_clear_removes_entries_and_leftovers(cache: KernelCache) -> None:
    for number in range(3):
        cache.put(cache_key(str(number)), CODE)
    leftover = next(cache.folder.iterdir()) / ".dead.o.1.2"
    leftover.write_bytes(b"half")
    assert cache.info().entries == 3
    assert cache.info().bytes == 3 * (len(CODE) + 48)
    assert cache.clear() == 3
    assert not list(cache.folder.glob("*/*"))
    assert not leftover.exists()


def test_threads_and_processes_writing_the_same_keys_never_show_half_a_file(cache: KernelCache) -> None:
    program = f"""
from pathlib import Path
from lazytorch.runtime.kernel_cache import KernelCache, cache_key
cache = KernelCache(Path({str(cache.folder)!r}), 1_000_000)
for number in range(200):
    key = cache_key(str(number % 5))
    cache.put(key, key.encode() * 500)
    found = cache.get(key)
    assert found == key.encode() * 500, found
"""
    writers = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(2)]
    found: list[bytes | None] = []

    def read() -> None:
        while any(writer.poll() is None for writer in writers):
            for number in range(5):
                found.append(cache.get(cache_key(str(number))))

    reader = threading.Thread(target=read)
    reader.start()
    errors = [writer.communicate()[1] for writer in writers]
    reader.join()
    assert [writer.returncode for writer in writers] == [0, 0], errors
    allowed = {cache_key(str(number)).encode() * 500 for number in range(5)} | {None}
    assert set(found) <= allowed
    assert cache.info().entries == 5
    assert not list(cache.folder.glob("*/.*")), "temporary files are gone"


@pytest.mark.parametrize("key", ["", "ab", "../../../../etc/passwd", "G" * 64, "A" * 64])
def test_a_key_is_hexadecimal_digits(cache: KernelCache, key: str) -> None:
    with pytest.raises(ValueError, match="cache key"):
        cache.get(key)


def test_the_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert cache_key("ab", "c") != cache_key("a", "bc") != cache_key("abc")
    assert len(generator_digest()) == 64


def test_another_code_generator_finds_nothing_of_the_old_one(tmp_path: Path) -> None:
    for folder in ("ir", "codegen/schedules", "runtime"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "one.py").write_text("x = 1\n")
    digests = [source_digest(tmp_path)]
    for change in (
        lambda: (tmp_path / "codegen/schedules/one.py").write_text("x = 2\n"),
        lambda: (tmp_path / "ir/one.py").rename(tmp_path / "ir/two.py"),
        lambda: (tmp_path / "codegen/three.py").write_text(""),
    ):
        change()
        digests.append(source_digest(tmp_path))
    assert len(set(digests)) == 4
    (tmp_path / "runtime/one.py").write_text("x = 2\n")
    assert source_digest(tmp_path) == digests[-1]


def test_the_settings_choose_folder_and_use(tmp_path: Path) -> None:
    with config(cache_dir=str(tmp_path / "chosen")):
        chosen = kernel_cache()
        assert chosen is not None
        assert chosen.folder == tmp_path / "chosen"
    with config(cache=False):
        assert kernel_cache() is None


def test_a_module_is_compiled_once_and_then_found(tmp_path: Path) -> None:
    text = "define i32 @f() { ret i32 7 }"
    with config(cache_dir=str(tmp_path)):
        before = STATISTICS.stats()
        first = engine().object_code(text, host_target())
        second = engine().object_code(text, host_target())
        after = STATISTICS.stats()
    assert first == second
    assert after["modules_compiled"] - before["modules_compiled"] == 1
    assert after["disk_cache_hits"] - before["disk_cache_hits"] == 1
    with config(cache=False):
        assert engine().object_code(text, host_target()) == first
