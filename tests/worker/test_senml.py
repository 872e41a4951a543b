"""SenML devices through the real Envoy and worker into the journal on the real NATS server."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from tests.journal.support import check_log, readings_log, wait_for, window_rows, windows_log
from tests.support.nats import NatsServer
from tests.worker.rig import Rig, rig
from tests.worker.senml_device import SenmlDevice, senml_device
from wire.journal import READINGS_SCHEMA, decode_rows
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE
from wire.status import SensorAudit

pytestmark = pytest.mark.timeout(90)

NS = 1_000_000_000


def record(**fields: object) -> bytes:
    """Return one record and the comma after it."""
    return msgspec.json.encode(fields) + b","


async def journalled_rows(around: Rig, sensor_id: str) -> list[tuple[int, int, int, float]]:
    """Return (epoch, seq, event time in ns, value) of a sensor's rows in log order."""
    found: list[tuple[int, int, int, float]] = []
    for _, entry in await readings_log(around.client.jetstream()):
        if entry.count:
            batch = decode_rows(entry.rows, READINGS_SCHEMA)
            names = ("sensor", "epoch", "seq", "value")
            sensors, epochs, seqs, values = (batch.column(name).to_pylist() for name in names)
            times = batch.column("time").cast("int64").to_pylist()
            rows = zip(sensors, epochs, seqs, times, values, strict=True)
            found += [
                (epoch, seq, stamp, value) for sensor, epoch, seq, stamp, value in rows if sensor == sensor_id
            ]
    return found


async def audit_of(around: Rig, sensor_id: str) -> SensorAudit:
    """Return a sensor's counters, whose identity must hold."""
    audit = next(one for one in (await around.audit()).sensors if one.sensor_id == sensor_id)
    fates = audit.aggregated + audit.duplicate + audit.quarantined + audit.too_late + audit.excluded
    assert audit.received == fates
    return audit


async def streaming(around: Rig, device: SenmlDevice) -> None:
    """Have the worker follow press-3, the device, and wait for its stream."""
    await around.start_worker()
    await around.program()
    assert await around.plane.assign("press-3", "host.senml") is None
    await wait_for("the device is asked", lambda: device.open_streams == 1)


async def test_a_stream_of_records_becomes_readings_and_windows(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Records cut anywhere are journalled with their times; bad ones are counted, quarantined and shown."""
    async with (
        senml_device() as device,
        rig(tmp_path, nats_server, {"host.senml": {"press-3": device.port}}) as around,
    ):
        await streaming(around, device)
        assert device.accepts[0].startswith(FRAMES_CONTENT_TYPE)
        assert SENSML_CONTENT_TYPE in device.accepts[0]
        begun = time.time_ns() // NS - 60
        await device.send(b"[" + record(bn="urn:dev:lab:press-3:", bt=begun, bu="Cel"))
        for second in range(40):
            await device.send(record(n="temperature", v=20 + second / 8, t=second))
        await device.send(
            record(n="temperature", v="NaN")
            + b'{"n":"temperature","v":NaN},'
            + record(n="temperature", u="K", v=300)
            + record(n="door", vb=True)
            + record(n="temperature", v=1, t=10**6)
        )
        found = await around.journalled("press-3", 42)
        assert found == list(range(1, 43))
        rows = await journalled_rows(around, "press-3")
        assert [(stamp, value) for _, _, stamp, value in rows[:40]] == [
            ((begun + second) * NS, 20 + second / 8) for second in range(40)
        ]
        audit = await audit_of(around, "press-3")
        assert (audit.received, audit.aggregated, audit.quarantined) == (42, 40, 2)
        assert (audit.undecodable_frames, audit.gaps) == (2, 0)
        status = await around.status()
        assert status.rejected == {
            "a field has the wrong type": 1,
            "a record is not JSON": 1,
            "wrong_unit": 1,
            "a boolean value": 1,
            "future": 1,
        }
        sample = next(one for one in status.rejected_last if one.reason == "a record is not JSON")
        assert (sample.sensor_id, sample.stream, sample.epoch) == ("press-3", 1, f"{rows[0][0]:016x}")
        assert bytes.fromhex(sample.head_hex) == b'{"n":"temperature","v":NaN}'

        async def closed() -> bool:
            windows = window_rows(await windows_log(around.client.jetstream()))
            return 10_000 in windows.column("size_ms").to_pylist()

        await wait_for("windows are journalled", closed)
        await around.stop_worker()
        check_log(await readings_log(around.client.jetstream()))


async def test_a_stream_that_is_opened_again_is_an_interruption(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each stream is an epoch from 1 on; between two is a gap of unknown size; a cut record is lost."""
    async with (
        senml_device() as device,
        rig(tmp_path, nats_server, {"host.senml": {"press-3": device.port}}) as around,
    ):
        await streaming(around, device)
        await device.send(b"[" + record(n="temperature", u="Cel", v=1) * 3 + b'{"n":"tempera')
        await around.journalled("press-3", 3)
        device.cut()
        await wait_for("the stream ends", lambda: device.open_streams == 0)
        await wait_for("another one", lambda: device.open_streams == 1)
        await device.send(b"[" + record(n="temperature", u="Cel", v=2) * 2)
        await around.journalled("press-3", 5)
        rows = await journalled_rows(around, "press-3")
        assert [(seq, value) for _, seq, _, value in rows] == [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)]
        assert len({epoch for epoch, _, _, _ in rows}) == 2
        audit = await audit_of(around, "press-3")
        assert (audit.received, audit.gaps, audit.gap_readings, audit.undecodable_frames) == (5, 1, 0, 1)
        await device.send(b"]]")
        await wait_for("lost framing ends the stream", lambda: device.open_streams == 0)
        await wait_for("which is opened again", lambda: device.open_streams == 1)
        assert (await around.status()).rejected["the body is no SenML pack of records"] == 1


async def test_a_device_that_answers_with_packs_is_asked_again(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Whole packs with relative times: live all the time, each answer counted as a stream of its own."""
    async with (
        senml_device() as device,
        rig(tmp_path, nats_server, {"host.senml": {"press-3": device.port}}) as around,
    ):
        device.content_type = f"{SENML_CONTENT_TYPE}; charset=utf-8"
        device.answer = lambda: b'[{"n":"press-3/temperature","u":"Cel","v":21.5}]'
        await around.start_worker()
        await around.program()
        assert await around.plane.assign("press-3", "host.senml") is None
        await around.journalled("press-3", 3)
        rows = await journalled_rows(around, "press-3")
        assert {seq for _, seq, _, _ in rows} == {1}
        assert all(abs(stamp - time.time_ns()) < 60 * NS for _, _, stamp, _ in rows)
        stream = await around.stream("press-3")
        assert stream is not None
        assert (stream.state, stream.error) == ("live", None)
        audit = await audit_of(around, "press-3")
        assert (audit.gaps, audit.gap_readings, audit.undecodable_frames) == (audit.received - 1, 0, 0)
