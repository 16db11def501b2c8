"""What the emulator counts: how much of each memory sector is used, and whether shared memory is free of bank conflicts."""

from __future__ import annotations

from typing import Any

import pytest

import lazytorch as torch
from lazytorch.codegen import schedules
from lazytorch.codegen.schedules import gpu_contract
from lazytorch.codegen.schedules.gpu_contract_fma import FMA_TILES, FmaTile
from lazytorch.runtime import session
from lazytorch.runtime.cuda import emulated

pytestmark = pytest.mark.usefixtures("emulated")
A, B = torch.rand(128, 64).realize(), torch.rand(64, 128).realize()


def reports(y: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The counters of the launches that compute a tensor."""
    found: list[Any] = []
    launch = emulated.EmulatedKernel.launch

    def recording(self: emulated.EmulatedKernel, *arguments: Any) -> None:
        launch(self, *arguments)
        found.append(self.report)

    monkeypatch.setattr(emulated.EmulatedKernel, "launch", recording)
    y.realize()
    return found


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan programs and kernels anew: their keys say nothing of the tiles that a test chooses."""
    monkeypatch.setattr(session, "_programs", {})
    monkeypatch.setattr(schedules, "_known", {})


def test_a_map_uses_whole_sectors_in_wide_accesses(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.rand(8192).cuda().realize(), torch.rand(8192).cuda().realize()
    (report,) = reports(torch.relu(x * y + 0.5) * x, monkeypatch)
    numbers = 8192 // 4 // 32  # each warp also reads 0.5
    assert report.load_used_bytes == 2 * 4 * 8192 + 4 * numbers >= 31 * report.load_sectors
    assert report.load_requests == 2 * 4 * 8192 // 512 + numbers  # 32 threads of 16 bytes


LAYOUTS = {
    "nn": lambda: (A, B),
    "nt": lambda: (A, B.t().contiguous().t()),
    "tn": lambda: (A.t().contiguous().t(), B),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tile", FMA_TILES, ids=lambda tile: f"{tile.side}")
def test_a_product_has_no_bank_conflicts(layout: str, tile: FmaTile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_contract, "tile_for", lambda *sizes: tile)
    a, b = (x.cuda().realize() for x in LAYOUTS[layout]())
    forget(monkeypatch)
    (report,) = reports(a @ b + 1, monkeypatch)
    assert report.shared_waves == report.shared_ideal_waves
    assert report.load_used_bytes >= 31 * report.load_sectors


def test_a_row_reduction_reads_every_element_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (report,) = reports(torch.rand(64, 256).cuda().realize().sum(1), monkeypatch)
    assert report.load_used_bytes == 32 * report.load_sectors == 4 * 64 * 256
