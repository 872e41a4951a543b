"""Recorded industrial sensors, shipped with the agent.

From the Numenta Anomaly Benchmark (MIT licence, `NAB-LICENSE.txt`): a
temperature sensor inside a large machine (one value every 5 minutes, ends in
a real failure) and one of an office (every hour). Degrees Fahrenheit, UCUM
`[degF]`, six significant digits. Timestamps are not strictly regular and a few repeat, as recorded.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

NAMES: Final = ("machine_temperature", "ambient_temperature")
UNIT: Final = "[degF]"


@dataclass(frozen=True, slots=True)
class Recording:
    """Times in Unix seconds and values, both in recorded order; never empty."""

    name: str
    times_s: tuple[int, ...]
    values: tuple[float, ...]
    anomalies_s: tuple[tuple[int, int], ...]  # spans that experts labelled


@cache
def load(name: str) -> Recording:
    """Return a recording by name; raises KeyError if there is none of that name."""
    if name not in NAMES:
        raise KeyError(name)
    folder = Path(__file__).parent
    text = gzip.decompress((folder / f"{name}.csv.gz").read_bytes()).decode()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    anomalies = json.loads((folder / "anomalies.json").read_text())[name]
    return Recording(
        name,
        tuple(int(time) for time, _ in rows),
        tuple(float(value) for _, value in rows),
        tuple((begin, end) for begin, end in anomalies),
    )
