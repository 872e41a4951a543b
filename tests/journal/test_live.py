"""Live windows are of sensors that somebody looks at."""

from __future__ import annotations

import pyarrow as pa

from ext_proc.journal.live import Watched
from wire.journal import WINDOWS_SCHEMA
from wire.names import EVERY_SENSOR, LIVE_WATCH_S


def rows(*sensors: str) -> pa.RecordBatch:
    """Return a window of each sensor."""
    filled = {"sensor": list(sensors)}
    columns = [
        pa.array(filled.get(field.name, [0] * len(sensors)), type=_plain(field.type)).cast(field.type)
        if field.name == "sensor" or not pa.types.is_dictionary(field.type)
        else pa.array(["x"] * len(sensors)).dictionary_encode()
        for field in WINDOWS_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=WINDOWS_SCHEMA)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def sensors_of(watched: Watched, now_s: float) -> list[str]:
    """Return whose windows are made, of a, b and a again."""
    found: list[str] = watched.of(rows("a", "b", "a"), now_s).column("sensor").to_pylist()
    return found


def test_nobody_looks() -> None:
    """Then nothing is made."""
    assert sensors_of(Watched(), 0.0) == []


def test_only_what_is_looked_at() -> None:
    """A sensor that was named, and all of its windows."""
    watched = Watched()
    watched.hear("a", 0.0)
    watched.hear("c", 0.0)
    assert sensors_of(watched, 1.0) == ["a", "a"]


def test_everything() -> None:
    """EVERY_SENSOR stands for all."""
    watched = Watched()
    watched.hear(EVERY_SENSOR, 0.0)
    assert sensors_of(watched, 1.0) == ["a", "b", "a"]


def test_who_says_nothing_has_gone() -> None:
    """Looking lasts three times as long as it takes to say it again."""
    watched = Watched()
    watched.hear("a", 0.0)
    assert sensors_of(watched, 3 * LIVE_WATCH_S) == ["a", "a"]
    watched.hear("b", 5.0)
    assert sensors_of(watched, 3 * LIVE_WATCH_S + 0.1) == ["b"]
    assert sensors_of(watched, 60.0) == []
