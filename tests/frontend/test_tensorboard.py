"""Event files: what is written can be read back, record by record."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytorch
from lazytorch.utils.tensorboard import SummaryWriter
from lazytorch.utils.tensorboard.events import crc32c


def fields(data: bytes) -> dict[int, list[Any]]:
    """A protocol buffer's fields: numbers, and bytes for anything nested."""
    out: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            entry: Any = varint()
        elif kind == 2:
            size = varint()
            entry, at = data[at : at + size], at + size
        else:
            size = 8 if kind == 1 else 4
            (entry,), at = struct.unpack("<d" if kind == 1 else "<f", data[at : at + size]), at + size
        out.setdefault(key >> 3, []).append(entry)
    return out


def summaries(folder: Path) -> list[tuple[int, dict[int, list[Any]]]]:
    """Steps and summary values of the only event file in a folder."""
    (path,) = [p for p in folder.iterdir() if p.is_file()]
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        content = data[at + 12 : at + 12 + length]
        for part, mask in ((data[at : at + 8], at + 8), (content, at + 12 + length)):
            crc = crc32c(part)
            masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.pack("<I", masked) == data[mask : mask + 4]
        event = fields(content)
        if 5 in event:
            found.append((event.get(2, [0])[0], fields(fields(event[5][0])[1][0])))
        else:
            assert event[3] == [b"brain.Event:2"]
        at += 16 + length
    return found


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_numbers_texts_histograms_and_pictures_are_written(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", lazytorch.tensor(0.25), 3)
        writer.add_text("note", "hello", 4)
        writer.add_histogram("weights", lazytorch.tensor([1.0, 1.0, 2.0, -3.0]), 5)
        writer.add_image("picture", lazytorch.tensor([[[0.0, 1.0]], [[0.5, 1.0]], [[0.0, 0.0]]]), 6)
        writer.add_scalars("both", {"a": 1, "b": 2.0}, 7)
    (_, loss), (step, note), (_, weights), (_, picture) = summaries(tmp_path)
    assert (loss[1], loss[2], step) == ([b"loss"], [0.25], 4)
    assert note[1] == [b"note/text_summary"]
    assert fields(note[8][0])[8] == [b"hello"]
    histogram = fields(weights[5][0])
    assert [histogram[n][0] for n in range(1, 6)] == [-3.0, 2.0, 4.0, 1.0, 15.0]
    assert np.frombuffer(histogram[7][0], "<f8").sum() == 4
    image = fields(picture[4][0])
    assert (image[1], image[2], image[3]) == ([1], [2], [3])
    png = image[4][0]
    pixels = zlib.decompress(png[png.index(b"IDAT") + 4 : -16])
    assert list(pixels) == [0, 0, 127, 0, 255, 255, 0]
    assert [s[1][2] for s in summaries(tmp_path / "both_b")] == [[2.0]]


def test_an_empty_histogram_is_refused(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer, pytest.raises(ValueError, match="no element"):
        writer.add_histogram("nothing", lazytorch.ones(0))
