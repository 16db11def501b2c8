"""TensorBoard's event files: protocol buffers in records with checksums.

Sources: tensorflow's core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer.cc.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

# -- records ------------------------------------------------------------


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


# -- protocol buffers ------------------------------------------------------------


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def whole(field: int, number: int) -> bytes:
    """An integer field."""
    return _varint(field << 3) + _varint(number)


def double(field: int, number: float) -> bytes:
    """A field of 64 bits."""
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def single(field: int, number: float) -> bytes:
    """A field of 32 bits."""
    return _varint(field << 3 | 5) + struct.pack("<f", number)


def nested(field: int, data: bytes | str) -> bytes:
    """A field of bytes, a text or a message."""
    content = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def event(wall_time: float, step: int | None = None, summary: bytes | None = None, version: str = "") -> bytes:
    """An Event message: a summary at a step, or the file's version."""
    out = double(1, wall_time)
    if step is not None:
        out += whole(2, step)
    if version:
        out += nested(3, version)
    return out if summary is None else out + nested(5, summary)


# -- summaries ------------------------------------------------------------


def scalar(tag: str, value: float) -> bytes:
    """One number."""
    return nested(1, nested(1, tag) + single(2, value))


def text(tag: str, content: str) -> bytes:
    """A text (Markdown)."""
    tensor = whole(1, 7) + nested(2, nested(2, whole(1, 1))) + nested(8, content)
    metadata = nested(1, nested(1, "text"))
    return nested(1, nested(1, f"{tag}/text_summary") + nested(8, tensor) + nested(9, metadata))


def _bucket_edges() -> np.ndarray:
    """TensorFlow's: powers of 1.1 from 1e-12 to 1e20, on both sides of 0."""
    edges = []
    edge = 1e-12
    while edge < 1e20:
        edges.append(edge)
        edge *= 1.1
    return np.array([-e for e in reversed(edges)] + [0.0] + edges)


def histogram(tag: str, values: np.ndarray, bins: str | int | Iterable[float] = "tensorflow") -> bytes:
    """How often values lie between edges. Raises ValueError when there are none."""
    flat = np.asarray(values, np.float64).reshape(-1)
    if flat.size == 0:
        raise ValueError("The input has no element.")
    edges = _bucket_edges() if isinstance(bins, str) and bins == "tensorflow" else bins
    counts, limits = np.histogram(flat, bins=edges)  # type: ignore[arg-type]
    used = np.flatnonzero(counts)
    if used.size == 0:
        raise ValueError("The histogram is empty, please file a bug report.")
    first, last = int(used[0]), int(used[-1]) + 1
    counts = np.concatenate([[0.0], counts[first:last]])
    limits = limits[first : last + 1]
    numbers = [flat.min(), flat.max(), float(flat.size), flat.sum(), float(flat.dot(flat))]
    message = b"".join(double(field, float(number)) for field, number in enumerate(numbers, 1))
    message += nested(6, limits.astype("<f8").tobytes()) + nested(7, counts.astype("<f8").tobytes())
    return nested(1, nested(1, tag) + nested(5, message))


def png(pixels: np.ndarray) -> bytes:
    """Pixels [H, W, channels] of bytes as a PNG file."""
    high, wide, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + pixels[row].tobytes() for row in range(high))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image(tag: str, pixels: np.ndarray) -> bytes:
    """A picture [H, W, channels] of bytes."""
    high, wide, channels = pixels.shape
    message = whole(1, high) + whole(2, wide) + whole(3, channels) + nested(4, png(pixels))
    return nested(1, nested(1, tag) + nested(4, message))
