"""Bad frames through the real Envoy and worker: counted, shown, and nobody else's trouble."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.journal.support import readings_log, wait_for
from tests.session.frames import batch, body
from tests.support.nats import NatsServer
from tests.worker.rig import rig
from wire.frames import delimit

pytestmark = pytest.mark.timeout(90)

EPOCH = 7


async def test_bad_input_of_one_sensor_is_seen_and_leaves_others_alone(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each reason is counted, the device can be found, the identity holds; the other stream stays open."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1", "press-2")
        bad, good = around.agents["press-1"], around.agents["press-2"]
        bad.produce(20)
        good.produce(20)
        await around.journalled("press-1", 20)
        await around.journalled("press-2", 20)
        now = time.time_ns()
        junk = [
            body(
                batch(
                    EPOCH,
                    21,
                    4,
                    series=[("temperature", "Cel")],
                    times=[now, now, 0, 2 * now],
                    values=[float("nan"), float("inf"), 1.0, 1.0],
                )
            ),
            body(batch(EPOCH, 25, 2, series=[("noise", "dB")], times=[now, now])),
            body(batch(EPOCH, 27, 1, series=[("temperature", "K")], times=[now])),
            delimit(b"\xff" * 40),
            b"\xff\xff\xff\xff\x0f",  # gigabytes
        ]
        bad.head = 27  # what the junk holds has these numbers
        bad.junk = b"".join(junk)
        bad.produce(0)
        await wait_for("the stream is reset and opened again", lambda: len(bad.afters) == 2)
        assert bad.afters[1] == f"{EPOCH:016x}:27"
        bad.produce(13)
        good.produce(30)
        await around.journalled("press-1", 40)
        await around.journalled("press-2", 50)
        assert len(good.afters) == 1
        sensors = {sensor.sensor_id: sensor for sensor in (await around.audit()).sensors}
        audit = sensors["press-1"]
        assert (audit.received, audit.aggregated, audit.quarantined) == (40, 33, 7)
        assert (audit.undecodable_frames, audit.gaps, audit.duplicate) == (2, 0, 0)
        assert sensors["press-2"].aggregated == sensors["press-2"].received == 50
        status = await around.status()
        assert status.rejected == {
            "not_finite": 2,
            "past": 1,
            "future": 1,
            "unknown_metric": 2,
            "wrong_unit": 1,
            "not a protobuf frame": 1,
            "framing lost": 1,
        }
        lost = next(one for one in status.rejected_last if one.reason == "framing lost")
        assert (lost.sensor_id, lost.stream, lost.epoch) == ("press-1", 1, f"{EPOCH:016x}")
        assert lost.head_hex.startswith("ffffffff0f")
        log = await readings_log(around.client.jetstream())
        notes = [
            note.undecodable for _, record in log for note in record.notes if note.HasField("undecodable")
        ]
        assert {(note.reason, note.offset) for note in notes if note.reason == "framing lost"} == {
            ("framing lost", lost.offset)
        }
        junk_frame = next(note for note in notes if note.reason == "not a protobuf frame")
        assert lost.offset - junk_frame.offset == len(junk[3])
        assert junk_frame.head_hex == "ff" * 32
