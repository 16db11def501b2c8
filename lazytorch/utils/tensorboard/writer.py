"""SummaryWriter (torch.utils.tensorboard), which needs no further package."""

from __future__ import annotations

import itertools
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from lazytorch.tensor import Tensor
from lazytorch.utils.tensorboard import events

_numbers = itertools.count()


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().numpy() if isinstance(x, Tensor) else x)


def _number(x: Any) -> float:
    return float(x.item() if isinstance(x, Tensor) else np.asarray(x).reshape(()))


class FileWriter:
    """Appends events to one file of a folder."""

    def __init__(self, log_dir: str, filename_suffix: str = "") -> None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file = open(Path(log_dir) / (name + filename_suffix), "wb")  # noqa: SIM115 - closed by close()
        self._file.write(events.record(events.event(time.time(), version="brain.Event:2")))

    def add(self, summary: bytes, step: int | None, walltime: float | None) -> None:
        """Write a summary."""
        when = time.time() if walltime is None else walltime
        self._file.write(events.record(events.event(when, step, summary)))

    def flush(self) -> None:
        """Let readers see everything."""
        self._file.flush()

    def close(self) -> None:
        """No more events."""
        self._file.close()


class SummaryWriter:
    """Writes numbers, texts, histograms and pictures where TensorBoard reads them."""

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            now = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir, self.filename_suffix = str(log_dir), filename_suffix
        self.max_queue, self.flush_secs = max_queue, flush_secs
        self._flushed = time.monotonic()
        self._writers: dict[str, FileWriter] = {}
        self._writer(self.log_dir)

    def _writer(self, folder: str) -> FileWriter:
        if folder not in self._writers:
            self._writers[folder] = FileWriter(folder, self.filename_suffix)
        return self._writers[folder]

    def _add(self, summary: bytes, step: Any, walltime: float | None, folder: str | None = None) -> None:
        step = None if step is None else int(step)
        self._writer(folder or self.log_dir).add(summary, step, walltime)
        if time.monotonic() - self._flushed > self.flush_secs:
            self.flush()

    def get_logdir(self) -> str:
        """The folder of the event files."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number at a step."""
        self._add(events.scalar(tag, _number(scalar_value)), global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers in one chart: each in a folder of its own."""
        for tag, number in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            self._add(events.scalar(main_tag, _number(number)), global_step, walltime, folder)

    def add_text(self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None) -> None:
        """A text at a step."""
        self._add(events.text(tag, text_string), global_step, walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """The distribution of values at a step."""
        self._add(events.histogram(tag, _array(values), bins), global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture at a step: bytes, or floats from 0 to 1; `dataformats` names its dimensions."""
        self._add(events.image(tag, _pixels(_array(img_tensor), dataformats)), global_step, walltime)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Several pictures side by side."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def flush(self) -> None:
        """Let readers see everything."""
        self._flushed = time.monotonic()
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """No more events."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _pixels(array: np.ndarray, formats: str) -> np.ndarray:
    """[H, W, channels] of bytes; a batch becomes a grid of at most eight columns."""
    names = formats.upper()
    if len(names) != array.ndim or len(set(names)) != len(names):
        raise AssertionError(f"You can not use the same dimension shordhand twice. input_format: {formats}")
    order = [names.index(name) for name in "NHWC" if name in names]
    pixels = array.transpose(order)
    if "C" not in names:
        pixels = pixels[..., None]
    if "N" in names:
        pixels = _grid(pixels)
    if pixels.dtype != np.uint8:
        pixels = (np.clip(pixels.astype(np.float64), 0.0, 1.0) * 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    return np.ascontiguousarray(pixels)


def _grid(pixels: np.ndarray) -> np.ndarray:
    count, high, wide, channels = pixels.shape
    columns = min(count, 8)
    rows = -(-count // columns)
    out = np.zeros((rows * high, columns * wide, channels), pixels.dtype)
    for number in range(count):
        row, column = divmod(number, columns)
        out[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = pixels[number]
    return out
