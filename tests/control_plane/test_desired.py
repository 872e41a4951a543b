"""The desired state over a real NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats.errors
import pytest

from control_plane.config import HostConfig
from control_plane.model import (
    SensorExistsError,
    StoreUnavailableError,
    UnknownHostError,
    UnknownSensorError,
)
from control_plane.store.bucket import ConflictError
from control_plane.store.connection import nats_connection, sentence
from control_plane.store.desired import DesiredState, ShardsChangedError
from control_plane.store.records import Lease, PolicyRecord, SensorRecord, WindowSizeRecord
from hyperv.model import Endpoint
from tests.control_plane.sim import spec
from tests.journal.support import connected
from tests.support.nats import NatsServer
from wire.names import SENSORS_BUCKET, SETTINGS_BUCKET

HOSTS = (HostConfig(id="lab", url="http://127.0.0.1:9"),)
HERE = Endpoint(address="127.20.0.1", port=7070)


class Watched:
    """A desired state that is followed; `until` waits on its changes."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.desired: DesiredState

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, looking after each change."""
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def watched(server: NatsServer, shards: int = 2) -> AsyncIterator[Watched]:
    """Return the desired state of `server`, loaded and installed."""
    async with nats_connection(server.url, "test") as connection:
        whole = Watched()
        whole.desired = DesiredState(connection, whole.changed.set)
        async with whole.desired.watched():
            await whole.desired.install(shards, HOSTS)
            yield whole


async def test_what_is_written_is_there_at_once_and_later(nats_server: NatsServer) -> None:
    """Sensors, endpoints, leases and hosts survive the control plane that wrote them."""
    async with watched(nats_server) as whole:
        desired = whole.desired
        added = await desired.add_sensor(spec("press-1"), 7)
        assert desired.sensors["press-1"] == added
        await desired.put_endpoint("press-1", HERE)
        await desired.claim_lease(0, "node-1", 1, 0)
        assert desired.endpoints == {"press-1": HERE}
    async with watched(nats_server) as whole:
        desired = whole.desired
        assert desired.sensors == {"press-1": added}
        assert desired.endpoints == {"press-1": HERE}
        lease = desired.leases[0]
        assert lease == Lease("node-1", 1, lease.revision)
        assert desired.hosts["lab"].url == HOSTS[0].url


async def test_what_cannot_be_asked_for_changes_nothing(nats_server: NatsServer) -> None:
    """A duplicate, an unknown host, an unknown sensor."""
    async with watched(nats_server) as whole:
        desired = whole.desired
        added = await desired.add_sensor(spec("press-1"), 7)
        with pytest.raises(SensorExistsError, match="exists already"):
            await desired.add_sensor(spec("press-1"), 8)
        with pytest.raises(UnknownHostError, match="must be one of lab; not mars"):
            await desired.add_sensor(spec("press-2", "mars"), 8)
        with pytest.raises(UnknownSensorError):
            await desired.mark_removing("press-2")
        assert desired.sensors == {"press-1": added}


async def test_a_removal_is_final_and_frees_the_id(nats_server: NatsServer) -> None:
    """Marked twice it is one revision; forgotten, it is gone with its endpoint and can come anew."""
    async with watched(nats_server) as whole:
        desired = whole.desired
        added = await desired.add_sensor(spec("press-1"), 7)
        await desired.put_endpoint("press-1", HERE)
        marked = await desired.mark_removing("press-1")
        assert marked.revision > added.revision
        assert await desired.mark_removing("press-1") == marked
        with pytest.raises(SensorExistsError, match="being removed"):
            await desired.add_sensor(spec("press-1"), 8)
        await desired.forget_sensor("press-1")
        assert (desired.sensors, desired.endpoints) == ({}, {})
        await desired.forget_sensor("press-1")
        assert (await desired.add_sensor(spec("press-1"), 9)).revision > marked.revision


async def test_two_control_planes_see_each_other(nats_server: NatsServer) -> None:
    """What one writes the other is told; of two that write one key, one has a conflict."""
    async with watched(nats_server) as one, watched(nats_server) as two:
        added = await one.desired.add_sensor(spec("press-1"), 7)
        await two.until(lambda: two.desired.sensors == {"press-1": added})
        await two.desired.claim_lease(0, "node-1", 1, 0)
        with pytest.raises(ConflictError):
            await one.desired.claim_lease(0, "node-2", 1, 0)
        await one.until(lambda: 0 in one.desired.leases)
        assert one.desired.leases[0].owner == "node-1"
        await two.desired.mark_removing("press-1")
        await one.until(lambda: one.desired.sensors["press-1"].record.removing)
        await one.desired.forget_sensor("press-1")
        await two.until(lambda: not two.desired.sensors)


async def test_another_number_of_shards_is_refused(nats_server: NatsServer) -> None:
    """It is fixed at installation, and the error says so."""
    async with watched(nats_server, shards=2):
        pass
    with pytest.raises(ShardsChangedError, match=r"must be 2, .*; it is 3"):
        async with watched(nats_server, shards=3):
            pass


async def test_the_policy_can_be_written_down(nats_server: NatsServer) -> None:
    """By default it is the built-in one; a record takes its place, and goes again."""
    record = PolicyRecord(
        sizes=(WindowSizeRecord(size_ms=5000, journalled=True),),
        horizon_ms=1,
        idle_close_ms=2,
        max_future_skew_ms=3,
        max_past_ms=4,
    )
    async with watched(nats_server) as whole, connected(nats_server) as client:
        built_in = whole.desired.policy
        bucket = await client.jetstream().key_value(SETTINGS_BUCKET)
        await bucket.put("policy", record.encode())
        await whole.until(lambda: whole.desired.policy == record.policy())
        await bucket.delete("policy")
        await whole.until(lambda: whole.desired.policy == built_in)


async def test_a_record_that_cannot_be_read_is_passed_over(nats_server: NatsServer) -> None:
    """The rest is there, and what was known of it stays."""
    async with watched(nats_server) as whole, connected(nats_server) as client:
        added = await whole.desired.add_sensor(spec("press-1"), 7)
        bucket = await client.jetstream().key_value(SENSORS_BUCKET)
        await bucket.put("press-1", b'{"from": "the future"}')
        await bucket.put("press-2", SensorRecord(spec=spec("press-2"), created_unix_ns=1).encode())
        await whole.until(lambda: "press-2" in whole.desired.sensors)
        assert whole.desired.sensors["press-1"] == added


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (nats.errors.OutboundBufferLimitError(), "NATS is away"),
        (nats.errors.TimeoutError(), "timeout"),
        (ConnectionRefusedError(), "ConnectionRefusedError"),
    ],
)
def test_what_is_wrong_with_nats_is_said_in_words(error: Exception, words: str) -> None:
    """Not in the client's words for its own buffers; an error without words has its name."""
    assert sentence(error) == words


async def test_nats_goes_and_comes_back(nats_server: NatsServer) -> None:
    """Reads go on, writes are refused at once, and what others wrote meanwhile is found."""
    async with watched(nats_server) as whole:
        desired = whole.desired
        added = await desired.add_sensor(spec("press-1"), 7)
        nats_server.kill()
        with pytest.raises(StoreUnavailableError):
            await desired.add_sensor(spec("press-2"), 8)
        assert desired.sensors == {"press-1": added}
        nats_server.start()
        await _eventually(lambda: desired.mark_removing("press-1"))
        async with watched(nats_server) as other:
            await other.desired.forget_sensor("press-1")
        await whole.until(lambda: not desired.sensors)


async def test_a_watch_that_the_server_forgot_is_begun_anew(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consumer is gone though the connection is not: the stream is compared with what was seen."""
    monkeypatch.setattr("control_plane.store.bucket.CHECK_S", 0.1)
    async with watched(nats_server) as whole, connected(nats_server) as client:
        js = client.jetstream()
        for consumer in await js.consumers_info(f"KV_{SENSORS_BUCKET}"):
            await js.delete_consumer(f"KV_{SENSORS_BUCKET}", consumer.name)
        bucket = await js.key_value(SENSORS_BUCKET)
        await bucket.put("press-1", SensorRecord(spec=spec("press-1"), created_unix_ns=1).encode())
        await whole.until(lambda: "press-1" in whole.desired.sensors)


async def test_a_large_fleet_loads_in_seconds(nats_server: NatsServer) -> None:
    """A restart of a large fleet's control plane takes no coffee break."""
    count = 2_000
    async with watched(nats_server), connected(nats_server) as client:
        js = client.jetstream()
        for number in range(count):
            record = SensorRecord(spec=spec(f"press-{number}"), created_unix_ns=1)
            await client.publish(f"$KV.{SENSORS_BUCKET}.press-{number}", record.encode())
        await client.flush()

        async def stored() -> None:
            assert (await js.stream_info(f"KV_{SENSORS_BUCKET}")).state.messages == count

        await _eventually(stored, (AssertionError,))
    async with asyncio.timeout(5), watched(nats_server) as whole:
        assert len(whole.desired.sensors) == count


async def _eventually(
    call: Callable[[], Awaitable[object]], errors: tuple[type[Exception], ...] = (StoreUnavailableError,)
) -> None:
    """Call until it does not raise."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except errors:
                await asyncio.sleep(0.02)
            else:
                return
