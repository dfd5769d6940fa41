"""`python tests/bench/drift.py`: drift of 30 features beside Evidently, in one run.

CPU seconds of the work alone: imports and the making of the data are not counted on either side. Evidently
gets its own virtual environment (it does not import under pandas 3) and both windows as DataFrames, as it
wants them. Ours gets the new window only, since the baseline was counted when the model was trained: that
is how it is used. What counting the baseline costs once is said, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".demo" / "evidently"
PACKAGES = ("evidently==0.7.23", "pandas<3")
NUMBERS, CATEGORIES, KINDS = 20, 10, 12
TARGET = 1 / 100
BATCH = 20_000  # rows that the monitor takes at once


def numbers(rows: int, seed: int) -> list[np.ndarray[Any, Any]]:
    """Columns of normal and of skewed numbers; the later window is a little off."""
    rng = np.random.default_rng(seed)
    drawn = (
        rng.normal(0.1 * seed, 1, rows) if place % 2 else rng.exponential(1, rows) for place in range(NUMBERS)
    )
    return list(drawn)


def codes(rows: int, seed: int) -> list[np.ndarray[Any, Any]]:
    """Columns of categories, as codes of names."""
    rng = np.random.default_rng(100 + seed)
    weights = 1 / np.arange(1, KINDS + 1)
    drawn = (rng.choice(KINDS, rows, p=weights / weights.sum()).astype(np.int8) for _ in range(CATEGORIES))
    return list(drawn)


def names() -> list[str]:
    """The categories' names."""
    return [f"kind {place}" for place in range(KINDS)]


def memory() -> float:
    """Most memory this process ever had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(rows: int) -> dict[str, float]:
    """Ours, in this process; CPU seconds, and MB that counting needs."""
    from mlinfra_lab.monitoring import cells, drift

    before = [*numbers(rows, 0), *[cells.Coded(column, names()) for column in codes(rows, 0)]]
    after = [*numbers(rows, 1), *[cells.Coded(column, names()) for column in codes(rows, 1)]]
    start = time.process_time()
    made = [cells.make(f"f{place}", column) for place, column in enumerate(before)]
    counters = [cells.column(one) for one in made]
    baseline = [counter.count(column) for counter, column in zip(counters, before, strict=True)]
    once = time.process_time() - start

    start = time.process_time()
    counts = [counter.count(column) for counter, column in zip(counters, after, strict=True)]
    found = [drift.drift(*three) for three in zip(made, baseline, counts, strict=True)]
    drift.drifted(found)
    took = time.process_time() - start
    tracemalloc.start()
    for counter, column in zip(counters, after, strict=True):
        counter.count(column)
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()

    # As they come from captured requests: plain Python values, some rows at a time.
    plain = [
        (
            [names()[code] for code in column.codes.tolist()]
            if isinstance(column, cells.Coded)
            else column.tolist()
        )
        for column in after
    ]
    start = time.process_time()
    summed = [cells.zero(one) for one in made]
    for at in range(0, rows, BATCH):
        for place, counter in enumerate(counters):
            summed[place] = cells.merge(summed[place], counter.count(plain[place][at : at + BATCH]))
    captured = time.process_time() - start
    assert [one.cells for one in summed] == [one.cells for one in counts]

    start = time.process_time()
    for three in zip(made, baseline, counts, strict=True):
        for metric in drift.METRICS:
            drift.drift(*three, metric)
    return {
        "cpu": took,
        "captured": captured,
        "baseline": once,
        "figures": time.process_time() - start,
        "memory": most,
    }


def peer(rows: int) -> dict[str, float]:
    """Evidently's, in its own environment."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def frame(seed: int) -> Any:
        columns: dict[str, Any] = {f"n{place}": column for place, column in enumerate(numbers(rows, seed))}
        for place, column in enumerate(codes(rows, seed)):
            columns[f"c{place}"] = np.array(names(), dtype=object)[column]
        return pd.DataFrame(columns)

    before, after = frame(0), frame(1)
    definition = DataDefinition(
        numerical_columns=[f"n{place}" for place in range(NUMBERS)],
        categorical_columns=[f"c{place}" for place in range(CATEGORIES)],
    )
    start, had = time.process_time(), memory()
    sides = [Dataset.from_pandas(side, data_definition=definition) for side in (after, before)]
    Report([DataDriftPreset()]).run(*sides).dict()
    return {"cpu": time.process_time() - start, "memory": memory() - had}


def environment() -> Path:
    """Evidently's Python, set up once."""
    python = PEER / "bin" / "python"
    if not (PEER / ".ready").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        links = os.environ.get("PIP_FIND_LINKS")
        found = ["--find-links", links] if links else []
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEER)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), *found, *PACKAGES]
        subprocess.run(install, check=True)
        (PEER / ".ready").touch()
    return python


def asked(python: str, side: str, rows: int) -> dict[str, float]:
    """One side's figures, from a process of its own."""
    quiet = os.environ | {"DO_NOT_TRACK": "1"}
    words = [python, __file__, "--side", side, "--rows", str(rows)]
    out = subprocess.run(words, check=True, capture_output=True, text=True, env=quiet).stdout
    found: dict[str, float] = json.loads(out.strip().splitlines()[-1])
    return found


def main() -> None:
    """Both sides for each size, one after the other."""
    parser = argparse.ArgumentParser(prog="python tests/bench/drift.py")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--side", choices=("ours", "peer"))
    options = parser.parse_args()
    if options.side:
        figures = {"ours": measured, "peer": peer}[options.side](options.rows[0])
        print(json.dumps(figures))
        return
    python = str(environment())
    print(f"drift of {NUMBERS} numbers and {CATEGORIES} categories, CPU seconds; {', '.join(PACKAGES)}")
    for rows in options.rows:
        ours, theirs = asked(sys.executable, "ours", rows), asked(python, "peer", rows)
        ratio = ours["cpu"] / theirs["cpu"]
        held = f" (target {TARGET:g}: {'held' if ratio <= TARGET else 'MISSED'})" if rows >= 10**6 else ""
        print(
            f"{rows:>9,} rows: {ours['cpu']:.3f} s, Evidently {theirs['cpu']:.2f} s, ratio {ratio:.5f}{held};"
            f" from plain values {ours['captured']:.2f} s ({ours['captured'] / rows * 1e6:.2f} µs a row,"
            f" ratio {ours['captured'] / theirs['cpu']:.4f});"
            f" baseline once {ours['baseline']:.2f} s; all metrics {ours['figures'] * 1000:.1f} ms;"
            f" memory {ours['memory']:.1f} MB, Evidently {theirs['memory']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
