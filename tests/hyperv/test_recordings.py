"""The recordings that ship with the agent are those that were published."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

import hyperv.recordings
from hyperv.recordings import NAMES, load

FOLDER = Path(hyperv.recordings.__file__).parent
DIGESTS = {  # of the published files, as `<Unix seconds>,<six significant digits>` lines
    "machine_temperature": "1ba2d9fabad314b6137be82c60a05c08a8d4a53e1e81bdf01573920a947556a2",
    "ambient_temperature": "0c49dc0bdf27053c59659683b5fcb7a807d5f67d74f300447e058ebe3ff4241f",
}
ANOMALIES = {
    "machine_temperature": (
        ("2013-12-10T06:25", "2013-12-12T05:35"),
        ("2013-12-15T17:50", "2013-12-17T17:00"),
        ("2014-01-27T14:20", "2014-01-29T13:30"),
        ("2014-02-07T14:55", "2014-02-09T14:05"),
    ),
    "ambient_temperature": (
        ("2013-12-15T07:00", "2013-12-30T09:00"),
        ("2014-03-29T15:00", "2014-04-20T22:00"),
    ),
}


def test_every_recording_is_whole() -> None:
    """Rows, ends and a digest of all of it, as in the Numenta Anomaly Benchmark."""
    expected = {
        "machine_temperature": (22_695, (1386018900, 73.9673), (1392823500, 96.9039)),
        "ambient_temperature": (7_267, (1372896000, 69.8808), (1401289200, 72.5841)),
    }
    for name in NAMES:
        recording = load(name)
        rows = list(zip(recording.times_s, recording.values, strict=True))
        assert (len(rows), rows[0], rows[-1]) == expected[name]
        assert recording.name == name
        lines = "".join(f"{time},{value:.6g}\n" for time, value in rows)
        assert hashlib.sha256(lines.encode()).hexdigest() == DIGESTS[name]


def test_the_anomalies_are_those_that_experts_labelled() -> None:
    """Spans in UTC."""
    for name in NAMES:
        spans = tuple(
            tuple(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M") for at in span)
            for span in load(name).anomalies_s
        )
        assert spans == ANOMALIES[name]


def test_there_are_no_others() -> None:
    """An unknown name is a KeyError."""
    with pytest.raises(KeyError):
        load("../machine_temperature")


def test_the_licence_ships_with_them() -> None:
    """MIT, with its notice."""
    text = (FOLDER / "NAB-LICENSE.txt").read_text()
    assert "Numenta" in text
    assert "Permission is hereby granted, free of charge" in text
    shipped = {path.name for path in FOLDER.iterdir() if path.suffix in {".gz", ".json", ".txt"}}
    assert shipped == {*(f"{name}.csv.gz" for name in NAMES), "anomalies.json", "NAB-LICENSE.txt"}
