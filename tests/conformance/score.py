"""From comparisons to scores: of a name, of a family, of everything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.operators import CHECKS, Result

TABLE = Path(__file__).with_name("names.tsv")
COMMON = 4.0  # from this weight on a name counts as one that programs use


@dataclass(frozen=True)
class Name:
    """A name of torch's databases, how much it is used (10: by nearly every program), and its family."""

    name: str
    weight: float
    family: str


def names() -> list[Name]:
    """The table of names, most used first."""
    rows = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return [Name(name, float(weight), family) for name, weight, family in rows]


class Scores:
    """Shares of comparisons that agree, by name and check."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for result in results:
            for check in (result.check, "all"):
                count = self.counts[result.name][check]
                count[0] += result.failure is None
                count[1] += 1

    def share(self, name: str, check: str = "all") -> float | None:
        """The share of a name's comparisons that agree; None where there are none."""
        good, total = self.counts[name].get(check, (0, 0))
        return good / total if total else None

    def mean(self, table: Iterable[Name], check: str = "all") -> float | None:
        """The mean share of several names, by their weight."""
        known = [(x.weight, share) for x in table if (share := self.share(x.name, check)) is not None]
        return sum(w * s for w, s in known) / sum(w for w, _ in known) if known else None


def report(scores: Scores, table: list[Name]) -> str:
    """One line for each family, and the totals."""
    families = sorted({x.family for x in table})
    lines = [f"{'family':30}{'names':>6}" + "".join(f"{check:>11}" for check in (*CHECKS, "all"))]
    rows = [(family, [x for x in table if x.family == family]) for family in families]
    rows += [(f"weight >= {COMMON:g}", [x for x in table if x.weight >= COMMON]), ("everything", table)]
    for title, members in rows:
        shares = [scores.mean(members, check) for check in (*CHECKS, "all")]
        cells = ["" if share is None else f"{100 * share:.1f}" for share in shares]
        lines.append(f"{title:30}{len(members):>6}" + "".join(f"{cell:>11}" for cell in cells))
    perfect = sum(scores.share(x.name) == 1 for x in table)
    lines.append(f"{perfect} of {len(table)} names agree in every comparison")
    return "\n".join(lines)
