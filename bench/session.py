"""What a session costs: microseconds a frame, and nanoseconds a reading, for both encodings.

    python -m bench.session [--seconds S]

Each case feeds the same body in pieces of 64 KiB, as Envoy hands them over, to
a new session until S seconds are over; the best of the rounds counts. Beside
it, in the same rounds, the least that decoding alone can cost: for frames,
splitting them and parsing each into columns; for SenML, msgspec's reading of
the whole array into records. `ratio` is the session over that.

`bad` has one frame (record) in ten that cannot be used. Not measured: Envoy,
gRPC, and the journal (bench.fold).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.decode import parse_frame
from ext_proc.session.model import SensorProfile, TimeBounds
from ext_proc.session.senml import SenmlSession
from ext_proc.session.session import Session
from wire.frames import FrameSplitter, delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.senml_stream import Record

_NOW = 1_800_000_000_000_000_000
_BOUNDS = TimeBounds(_NOW - 10**18, _NOW + 10**10, _NOW)
_UNITS = {"temperature": "Cel", "pressure": "kPa", "humidity": "%", "vibration": "mm/s"}
_PROFILE = SensorProfile("press-1", "hall-3", _UNITS)
_PIECE = 64 * 1024
_READINGS = 100_000


def frames(per_frame: int, bad: bool) -> bytes:
    """Return a body of about _READINGS readings, `per_frame` in each frame."""
    body = bytearray()
    count = min(_READINGS, 5_000 * per_frame) // per_frame
    for nth in range(count):
        if bad and nth % 10 == 9:
            body += delimit(b"\xff" * 100)
            continue
        seqs = range(nth * per_frame + 1, (nth + 1) * per_frame + 1)
        batch = readings_pb2.ReadingBatch(
            epoch=7,
            first_seq=seqs[0],
            count=per_frame,
            series=[readings_pb2.Series(metric=metric, unit=unit) for metric, unit in _UNITS.items()],
            series_index=[seq % 4 for seq in seqs],
            time_unix_ns=[_NOW + seq * 1000 for seq in seqs],
            value=[seq / 8 for seq in seqs],
        )
        body += delimit(readings_pb2.Frame(readings=batch).SerializeToString())
    return bytes(body)


def records(count: int, bad: bool) -> bytes:
    """Return a pack of `count` records as an agent might write them: base name and time, then readings."""
    metrics = [("temperature", "Cel"), ("pressure", "Pa"), ("humidity", "%RH"), ("vibration", "m/s")]
    rows: list[dict[str, Any]] = []
    for nth in range(count):
        metric, unit = metrics[nth % 4]
        row: dict[str, Any] = {"n": metric, "u": unit, "v": nth / 8, "t": nth / 1000}
        if bad and nth % 10 == 9:
            row["v"] = "NaN"
        rows.append(row)
    rows[0] |= {"bn": "urn:dev:mac:0024befffe804ff1:", "bt": _NOW / 1e9}
    return msgspec.json.encode(rows)


def _pieces(body: bytes) -> list[bytes]:
    return [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]


def _best(work: Callable[[], object], floor: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return the shortest time of each, in seconds; they take turns."""
    best = [float("inf"), float("inf")]
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for place, function in enumerate((work, floor)):
            began = time.perf_counter()
            function()
            best[place] = min(best[place], time.perf_counter() - began)
    return best[0], best[1]


def measure_frames(per_frame: int, seconds: float, *, bad: bool = False) -> dict[str, Any]:
    """Measure a body of frames."""
    body = frames(per_frame, bad)
    pieces = _pieces(body)
    count = len(FrameSplitter().feed(body))

    def session() -> None:
        one = Session(_PROFILE, SensorCursor())
        for piece in pieces:
            one.feed(piece, _BOUNDS)

    def floor() -> None:
        splitter = FrameSplitter()
        for piece in pieces:
            for frame in splitter.feed(piece):
                if frame[0] != 0xFF:
                    parse_frame(frame)

    took, least = _best(session, floor, seconds)
    return {
        "readings_per_frame": per_frame,
        "bad": bad,
        "us_per_frame": round(took / count * 1e6, 2),
        "ns_per_reading": round(took / count / per_frame * 1e9, 1),
        "ratio": round(took / least, 2),
    }


def measure_senml(per_body: int, seconds: float, *, bad: bool = False) -> dict[str, Any]:
    """Measure packs of `per_body` records, one after the other in one body."""
    pack = records(per_body, bad)
    packs = max(1, min(20_000, 2_000 * per_body) // per_body)
    pieces = _pieces(pack * packs)
    decoder = msgspec.json.Decoder(list[dict[str, Any]] if bad else list[Record])

    def session() -> None:
        one = SenmlSession(_PROFILE, SensorCursor(), 7, streaming=True)
        for piece in pieces:
            one.feed(piece, _BOUNDS)

    def floor() -> None:
        for _ in range(packs):
            decoder.decode(pack)

    took, least = _best(session, floor, seconds)
    return {
        "records_per_pack": per_body,
        "bad": bad,
        "us_per_pack": round(took / packs * 1e6, 2),
        "ns_per_reading": round(took / packs / per_body * 1e9, 1),
        "ratio": round(took / least, 2),
    }


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case")
    seconds = parser.parse_args().seconds
    measured_frames = [measure_frames(size, seconds) for size in (10, 100, 1000)]
    measured_senml = [measure_senml(size, seconds) for size in (10, 100, 1000)]
    document = {
        "bench": "session",
        "frames": [*measured_frames, measure_frames(100, seconds, bad=True)],
        "senml": [*measured_senml, measure_senml(100, seconds, bad=True)],
        "senml_over_frames": [
            round(senml["ns_per_reading"] / frame["ns_per_reading"], 1)
            for senml, frame in zip(measured_senml, measured_frames, strict=True)
        ],
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
