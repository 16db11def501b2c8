"""`python -m tests.conformance`: how much of torch's operator and module databases agrees, by family.

The names are those that programs use (names.tsv). The checks are forward (function, method, operator; values, types,
shapes), gradient (float64, the same cotangents), in-place, out=, promotion (one operand in another type), and error (the
exception's type). A name's share is that of its comparisons that agree; a family's score is the mean by the names' weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Run the checks that the arguments name, print scores, and failures if asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="names, such as `add nn.functional.pad`")
    parser.add_argument("--family", nargs="*", default=[], help="families, such as `linalg`; a part of the name is enough")
    parser.add_argument("--check", nargs="*", default=[], help="forward, gradient, in-place, out, promotion, error")
    parser.add_argument("--weight", type=float, default=0.0, help="only names that are used at least this much")
    parser.add_argument("--samples", type=int, default=12, help="samples of each name and element type (default 12)")
    parser.add_argument("--failures", type=int, default=0, help="print so many failures of each name")
    parser.add_argument("--json", type=Path, help="append all results to this file, one a line")
    parser.add_argument("--quiet", action="store_true", help="no line for each name")
    options = parser.parse_args()

    from tests.conformance import score

    table = [x for x in score.names() if x.weight >= options.weight]
    if options.only:
        table = [x for x in table if x.name in options.only]
        table += [score.Name(name, 1.0, "other") for name in options.only if name not in {x.name for x in table}]
    if options.family:
        table = [x for x in table if any(part in x.family for part in options.family)]
    results = run(table, options)
    print(score.report(score.Scores(results), table))
    return 0


def check_name(name, most, checks):
    """All comparisons of a function's or module's entry; `most` samples of each kind."""
    from tests.conformance.modules import check_module
    from tests.conformance.operators import check_operator

    check = check_module if name.startswith("nn.") and name[3].isupper() else check_operator
    return list(check(name, most, checks))


def run(table, options):
    """The results of all names, with a line for each as it is done."""
    from tests.conformance.exclusions import EXCLUDED
    from tests.conformance.operators import CHECKS

    results = []
    for row in table:
        if row.name in EXCLUDED:
            continue
        start = time.monotonic()
        mine = check_name(row.name, options.samples, tuple(options.check) or CHECKS)
        results += mine
        if options.json:
            with options.json.open("a") as file:
                file.writelines(json.dumps(vars(result)) + "\n" for result in mine)
        failed = [result for result in mine if result.failure is not None]
        if not options.quiet:
            print(f"{row.name}: {len(mine) - len(failed)} of {len(mine)}, {time.monotonic() - start:.1f} s", flush=True)
        for result in failed[: options.failures]:
            print(f"    {row.name} {result.check}: {result.sample}\n        {result.failure}", flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
