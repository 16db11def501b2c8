"""Streams, events, memory and copies: what one stream computes is there for others, and memory is used again only when all
that used it is done. On the fake driver (`--cuda driver`) nothing is done before somebody waits for it: mistakes show."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.config import config

pytestmark = pytest.mark.usefixtures("cuda")


def test_streams_wait_for_what_they_use() -> None:
    side = torch.cuda.Stream()
    x = torch.ones(1000, device="cuda") * 2
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() == side
        y = x + 1  # of the default stream
    z = y * 2  # of the side stream
    assert torch.cuda.current_stream() == torch.cuda.default_stream() != side
    assert z.tolist() == [6.0] * 1000


def test_memory_of_two_streams_is_not_used_again_too_early() -> None:
    side = torch.cuda.Stream()
    for _ in range(3):
        x = torch.full((2000,), 3.0, device="cuda") + 0
        x.realize()
        with torch.cuda.stream(side):
            y = x * 2
        y.realize()
        del x  # the side stream has not read it yet
        w = torch.full((2000,), 7.0, device="cuda") + 0
        w.realize()
        assert y.tolist() == [6.0] * 2000 and w.tolist() == [7.0] * 2000


def test_streams_and_events_are_ordered_as_asked() -> None:
    first, second = torch.cuda.Stream(), torch.cuda.Stream(priority=-1)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(first):
        start.record()
        x = torch.arange(100.0, device="cuda") + 1
        end.record()
    second.wait_stream(first)
    second.wait_event(end)
    with second:
        total = x.sum()
    end.synchronize()
    assert end.query() and start.elapsed_time(end) >= 0
    second.synchronize()
    assert second.query() and total.item() == 5050
    with pytest.raises(ValueError, match="enable_timing=True"):
        torch.cuda.Event().elapsed_time(end)
    with pytest.raises(ValueError, match="must be recorded"):
        torch.cuda.Event(enable_timing=True).elapsed_time(end)


def test_the_allocator_counts() -> None:
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    x = torch.ones(1 << 16, device="cuda").realize()
    torch.cuda.synchronize()
    taken = torch.cuda.memory_allocated() - before
    assert 4 << 16 <= taken <= (4 << 16) * 9 // 8
    del x
    assert torch.cuda.memory_allocated() == before and torch.cuda.max_memory_allocated() >= before + taken
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= torch.cuda.max_memory_reserved()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] > 0
    assert "allocated_bytes.all.current" in torch.cuda.memory_summary()
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total == torch.cuda.get_device_properties().total_memory


def test_too_much_memory_is_an_error_that_says_how_much() -> None:
    def much() -> None:
        (torch.zeros(1 << 28, device="cuda") + 1.5).realize()

    with pytest.raises(
        torch.cuda.OutOfMemoryError, match=r"CUDA out of memory\. Tried to allocate 1\.00 GiB\. GPU 0"
    ) as error:
        much()
    assert "test_streams.py" in "".join(error.value.__notes__)
    assert (torch.ones(3, device="cuda") + 1).tolist() == [2.0] * 3
    torch.cuda.set_per_process_memory_fraction(0.0)
    try:
        torch.cuda.empty_cache()
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.ones(1 << 20, device="cuda").realize()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_pinned_memory_is_copied_beside_the_kernels() -> None:
    x = torch.arange(5000.0).pin_memory()
    assert x.is_pinned() and not torch.ones(2).is_pinned()
    y = x.to("cuda", non_blocking=True) + 1
    y.realize()
    x.add_(100)  # the copy may still be under way: this goes elsewhere
    x.realize()
    del x
    np.testing.assert_array_equal(y.cpu().numpy(), np.arange(5000.0, dtype=np.float32) + 1)
    with pytest.raises(RuntimeError, match=r"cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"):
        y.pin_memory()


def test_a_loader_pins_its_batches() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(6.0), torch.arange(6))
    for number, (x, target) in enumerate(torch.utils.data.DataLoader(data, batch_size=3, pin_memory=True)):
        assert x.is_pinned() and target.is_pinned()
        assert (x.cuda(non_blocking=True) + target.cuda(non_blocking=True)).tolist() == [
            6 * number,
            6 * number + 2,
            6 * number + 4,
        ]


def test_a_repeated_program_gives_the_same_numbers() -> None:
    """From the third time on the driver gets it as one graph, where it offers that."""
    torch.manual_seed(0)
    x, w = torch.randn(64, 64), torch.randn(64, 64)
    there, weights = x.cuda(), w.cuda()

    def step(x, w):
        return (torch.softmax(x @ w, 1).sum(0) @ w).tanh().cumsum(0)

    want = step(x, w)
    for _ in range(5):
        got = step(there, weights)
        np.testing.assert_array_equal(got.cpu().numpy(), want.numpy())
        del got


def test_waiting_for_every_kernel_changes_no_number() -> None:
    x = torch.arange(1000.0, device="cuda")
    with config(cuda_sync=True):
        assert torch.softmax(x, 0).sum().item() == pytest.approx(1.0)
