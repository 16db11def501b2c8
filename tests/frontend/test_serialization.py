"""Files: PyTorch reads ours, we read PyTorch's, and no file makes us run code."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch as oracle

import lazytorch

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint32")


def checkpoint(t):
    """Everything that checkpoints usually hold."""
    shared = t.arange(6.0)
    return {
        "tensors": OrderedDict((name, t.arange(6).reshape(2, 3).to(getattr(t, name))) for name in DTYPES),
        "parameter": t.nn.Parameter(t.ones(2, 2)),
        "leaf": t.ones(3, requires_grad=True),
        "views": [shared, shared[2:5], shared.view(2, 3).t(), t.tensor(3.5), t.zeros(0, 4)],
        "numbers": (1, 2.5, True, None, "text", 1 << 70, b"bytes", {1, 2}),
        "size": t.ones(2, 3).shape,
        "dtype": t.float64,
        "device": t.device("cpu"),
    }


def described(value):
    """A checkpoint as plain data."""
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, oracle.Size | lazytorch.Size):
        return "size", tuple(value)
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if isinstance(value, oracle.Tensor | lazytorch.Tensor):
        kind = "parameter" if type(value).__name__ == "Parameter" else "tensor"
        return kind, value.tolist(), str(value.dtype), tuple(value.shape), value.stride(), value.requires_grad
    return str(value) if str(value).startswith(("torch.", "cpu")) else value


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("writer", "reader"), [(oracle, lazytorch), (lazytorch, oracle), (lazytorch, lazytorch)])
def test_a_checkpoint_goes_both_ways(writer, reader, protocol: int, tmp_path: Path) -> None:
    writer.save(checkpoint(writer), tmp_path / "model.pt", pickle_protocol=protocol)
    # PyTorch's own restricted reader knows protocol 2 only.
    loaded = reader.load(tmp_path / "model.pt", map_location="cpu", weights_only=protocol == 2 or reader is lazytorch)
    assert described(loaded) == described(checkpoint(oracle))
    assert isinstance(loaded["parameter"], reader.nn.Parameter)
    loaded["views"][0][2] = 99
    assert loaded["views"][1][0] == 99
    assert loaded["views"][2][2, 0] == 99


def test_the_older_format_of_torch_is_read() -> None:
    file = io.BytesIO()
    wanted = {"w": oracle.rand(3, 4), "n": [oracle.arange(3)]}
    wanted["t"] = wanted["w"].t()
    oracle.save(wanted, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    assert described(lazytorch.load(file)) == described(wanted)


def test_a_state_dict_goes_into_the_other_librarys_module() -> None:
    theirs, ours = (t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4)) for t in (oracle, lazytorch))
    file = io.BytesIO()
    oracle.save(theirs.state_dict(), file)
    file.seek(0)
    ours.load_state_dict(lazytorch.load(file))
    x = oracle.rand(5, 3)
    want = theirs.eval()(x).detach().numpy()
    assert abs(ours.eval()(lazytorch.tensor(x.numpy())).detach().numpy() - want).max() < 1e-6


def test_values_that_are_pending_are_computed_when_they_are_saved() -> None:
    file = io.BytesIO()
    lazytorch.save(lazytorch.arange(4) * 2, file)
    file.seek(0)
    assert oracle.load(file).tolist() == [0, 2, 4, 6]


class Trap:
    """An object whose pickle asks for a call."""

    def __reduce__(self):
        return os.system, ("echo trapped",)


class Settings:
    """A class of the program's own."""

    def __init__(self) -> None:
        self.rate = 0.1


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_a_file_never_makes_us_run_code(weights_only: bool | None) -> None:
    for obj in (Trap(), {"settings": Settings()}):
        file = io.BytesIO()
        oracle.save(obj, file)
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match="not an allowed global"):
            lazytorch.load(file, weights_only=weights_only)


def test_declared_classes_are_loaded() -> None:
    file = io.BytesIO()
    lazytorch.save(Settings(), file)
    file.seek(0)
    with lazytorch.serialization.safe_globals([Settings]):
        assert lazytorch.load(file).rate == 0.1
    assert lazytorch.serialization.get_safe_globals() == []


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"hello, world")
    with pytest.raises(pickle.UnpicklingError):
        lazytorch.load(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError):
        lazytorch.load(tmp_path / "b.pt")


def test_tensors_of_a_missing_device_need_a_map_location() -> None:
    file = io.BytesIO()
    lazytorch.save(lazytorch.ones(2), file)
    moved = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file.getvalue())) as source, zipfile.ZipFile(moved, "w") as target:
        for name in source.namelist():
            record = source.read(name)
            target.writestr(name, record.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    moved.seek(0)
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        lazytorch.load(moved)
    for location in ("cpu", lazytorch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, place: storage):
        moved.seek(0)
        assert lazytorch.load(moved, map_location=location).tolist() == [1, 1]
