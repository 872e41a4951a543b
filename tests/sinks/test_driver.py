"""The driver on a real NATS server with real journals: nothing lost, nothing twice without need."""

from __future__ import annotations

import asyncio
import json

import pytest
from nats.js.api import StreamConfig

from ext_proc.sinks import pump
from ext_proc.sinks.cursors import StoredCursor
from ext_proc.sinks.driver import Driver
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.model import BatchLimits
from tests.journal.support import connected, run_of, running, wait_for
from tests.sinks.support import (
    SINK,
    START,
    MemoryTarget,
    expected_keys,
    open_journal,
    readings_chunk,
    record_of,
    sinking,
    writing,
)
from tests.support.nats import NatsServer
from wire import names
from wire.status import SinkStatus


async def test_everything_is_delivered_once_and_in_order(nats_server: NatsServer) -> None:
    """Readings and windows of two shards, through a restart of the sink, which goes on at its cursor."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        first, second = await open_journal(js, 0), await open_journal(js, 1)
        target = MemoryTarget()
        async with running(first), running(second):
            async with sinking(client, target, shards=2) as driver:
                await writing(first, "a", 30)
                await writing(second, "b", 30)
                await wait_for("600 readings", lambda: len(target.keys()) == 600)
                await wait_for("all windows", lambda: len(target.windows()) >= 2 * 30)
                assert driver.status().rows_delivered >= 600 + 60
            await writing(first, "a", 10)
            async with sinking(client, target, shards=2):
                await wait_for("700 readings", lambda: len(target.keys()) >= 700)
    keys = target.keys()
    assert [key for key in keys if key[0] == "a"] == expected_keys("a", 1, 400)
    assert [key for key in keys if key[0] == "b"] == expected_keys("b", 1, 300)
    assert len(target.windows()) == len(set(target.windows()))


async def test_it_waits_quietly_for_a_journal(nats_server: NatsServer) -> None:
    """A sink may start before any worker: it is no trouble, and says what it waits for."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        target = MemoryTarget()
        async with sinking(client, target) as driver:
            await wait_for("it says so", lambda: "waiting for a worker" in (driver.status().message or ""))
            assert driver.status().state == "running"
            journal = await open_journal(writer.jetstream())
            async with running(journal):
                await writing(journal, "a", 2)
                await wait_for("20 readings", lambda: len(target.keys()) == 20)
            assert driver.status().message is None


async def test_a_cursor_moves_over_ticks(nats_server: NatsServer) -> None:
    """An idle shard delivers nothing, and lags behind nothing."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        journal = await open_journal(js)
        target = MemoryTarget()
        async with running(journal), sinking(client, target) as driver:
            await writing(journal, "a", 1)
            await wait_for("10 readings", lambda: len(target.keys()) == 10)
            calls = len(target.calls)

            async def ticked() -> bool:
                return bool((await js.stream_info(names.readings_stream(0))).state.last_seq > 10)

            await wait_for("ticks", ticked)
            await wait_for("no lag", lambda: driver.status().lag_rows == 0)
        assert len(target.calls) == calls
        assert driver.status().lag_s == 0


async def test_the_batch_comes_again_after_an_error(nats_server: NatsServer) -> None:
    """Retryable: waits as long as the other side says, with the reason in the status, then goes on."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        journal = await open_journal(writer.jetstream())
        target = MemoryTarget(kinds=("readings",))
        target.troubles = [RetryableSinkError("too many requests", 0.3), RetryableSinkError("away", 0.01)]
        async with running(journal), sinking(client, target) as driver:
            await writing(journal, "a", 1)
            await wait_for("it says why", lambda: driver.status().message == "too many requests")
            assert driver.status().state == "retrying"
            await wait_for("10 readings", lambda: len(target.keys()) == 10)
            assert target.calls[0] == target.calls[1] == target.calls[2]
            await wait_for("it runs", lambda: driver.status().state == "running")


async def test_what_needs_help_is_said_and_picked_up(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terminal: failed and loud, tried again by itself; at the start too."""
    monkeypatch.setattr(pump, "SLOW_S", 0.2)
    async with connected(nats_server) as writer, connected(nats_server) as client:
        journal = await open_journal(writer.jetstream())
        target = MemoryTarget(kinds=("readings",))
        target.start_troubles = [RetryableSinkError("no such host", 0.2)]
        target.troubles = [TerminalSinkError("permission denied")]
        async with running(journal), sinking(client, target) as driver:
            await wait_for("start says why", lambda: driver.status().message == "no such host")
            await writing(journal, "a", 1)
            await wait_for("it says why", lambda: driver.status().message == "permission denied")
            assert driver.status().state == "failed"
            assert driver.status().lag_rows >= 10
            await wait_for("10 readings", lambda: len(target.keys()) == 10)
            await wait_for("it runs", lambda: driver.status().state == "running")


async def test_nats_dies_again_and_again(nats_server: NatsServer) -> None:
    """SIGKILL of the server: the sink waits, then goes on where it was; each row comes once."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        journal = await open_journal(writer.jetstream(timeout=1.0))
        target = MemoryTarget()
        async with running(journal), sinking(client, target) as driver:
            last = 0
            for _ in range(3):
                last = await writing(journal, "a", 10)
                nats_server.kill()
                await wait_for("it says so", lambda: driver.status().state == "retrying")
                journal.offer([run_of("a", last + 1, 10, start_unix_ns=START)])
                journal.cursor("a").accept(7, last + 1, last + 10)
                nats_server.start()
                last += 10
                await asyncio.wait_for(journal.flush(), 20)
            await wait_for("all readings", lambda: len(target.keys()) >= last)
            await wait_for("all windows", lambda: len(target.windows()) >= last // 10)
            await wait_for("it runs", lambda: driver.status().state == "running")
    assert target.keys() == expected_keys("a", 1, last)
    assert len(target.windows()) == len(set(target.windows()))


async def test_a_lost_journal_is_read_from_where_it_agrees(nats_server: NatsServer) -> None:
    """The stream is lost as a whole: its next generation is read from its first record."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        first = await open_journal(js)
        target = MemoryTarget(kinds=("readings",))
        async with sinking(client, target):
            async with running(first):
                await writing(first, "a", 5)
                await wait_for("50 readings", lambda: len(target.keys()) == 50)
            await js.delete_stream(names.readings_stream(0))
            second = await open_journal(js, lease=2)
            assert second.position.generation == 2
            async with running(second):
                await writing(second, "a", 7)
                await wait_for("all again", lambda: len(target.keys()) == 120)
    generations = [chunk.generation for chunk in target.chunks]
    assert generations == sorted(generations)
    assert set(target.keys()) == set(expected_keys("a", 1, 70))
    assert target.keys()[50:] == expected_keys("a", 1, 70)


async def test_windows_that_were_lost_alone_come_again(nats_server: NatsServer) -> None:
    """The windows stream is filled anew under the same generation: same keys, nothing missing."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        first = await open_journal(js)
        target = MemoryTarget(kinds=("windows",))
        async with running(first), sinking(client, target):
            await writing(first, "a", 20)
            await wait_for("20 windows", lambda: len(target.windows()) >= 20)
        before = set(target.windows())
        await js.delete_stream(names.windows_stream(0))
        await js.delete_msg(names.CHECKPOINT_STREAM, 1)
        async with sinking(client, target):
            second = await open_journal(js, lease=2)
            async with running(second):
                await writing(second, "a", 10)
                await wait_for("10 more", lambda: len(set(target.windows())) >= 30)
    assert before <= set(target.windows())


async def test_a_sink_that_was_overtaken_says_so(nats_server: NatsServer) -> None:
    """Records discarded before they were read are counted and named; the rest is delivered."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        journal = await open_journal(js)
        target = MemoryTarget(kinds=("readings",))
        async with running(journal):
            async with sinking(client, target):
                await writing(journal, "a", 5)
                await wait_for("50 readings", lambda: len(target.keys()) == 50)
            cursor = (await js.stream_info(names.readings_stream(0))).state.last_seq
            await writing(journal, "a", 5)
            await js.purge_stream(names.readings_stream(0), seq=cursor + 3)
            async with sinking(client, target) as driver:
                await wait_for("the rest", lambda: len(target.keys()) >= 80)
                status = driver.status()
    assert status.retention_gaps == 1
    assert "discarded before they were read" in (status.message or "")
    assert target.keys()[-1] == expected_keys("a", 100, 100)[0]


async def test_records_discarded_while_it_reads(nats_server: NatsServer) -> None:
    """A sink that is too slow is overtaken while it runs: counted, and it goes on."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        journal = await open_journal(js)
        target = MemoryTarget(kinds=("readings",), limits=BatchLimits(rows=1, age_s=0.01))
        async with running(journal), sinking(client, target) as driver:
            await writing(journal, "a", 1)
            await wait_for("10 readings", lambda: len(target.keys()) == 10)
            target.gate.clear()
            await writing(journal, "a", 700)
            last = (await js.stream_info(names.readings_stream(0))).state.last_seq
            await js.purge_stream(names.readings_stream(0), seq=last - 5)
            target.gate.set()
            await wait_for("the newest", lambda: target.keys()[-1] == expected_keys("a", 7010, 7010)[0])
            assert driver.status().retention_gaps == 1


async def test_dead_rows_are_kept_where_they_can_be_seen(nats_server: NatsServer) -> None:
    """A row that the other side refuses goes to the dead letters with its reason; the rest is delivered."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        journal = await open_journal(js)
        target = MemoryTarget(kinds=("readings",))
        target.poison = {3.0, 17.0}
        async with running(journal), sinking(client, target) as driver:
            await writing(journal, "a", 2)
            await wait_for("20 readings", lambda: len(target.keys()) == 20)
            await wait_for("2 dead", lambda: driver.status().dead_letters == 2)
            assert driver.status().rows_delivered == 18
        letters = [await js.get_msg(names.DEAD_LETTERS_STREAM, seq=seq) for seq in (1, 2)]
    assert {letter.subject for letter in letters} == {names.dead_letters_subject(SINK)}
    first, second = (json.loads(letter.data or b"") for letter in letters)
    assert (first["reason"], first["row"]["seq"], second["row"]["seq"]) == ("poison", 3, 17)
    assert (first["sink"], first["kind"], first["shard"]) == (SINK, "readings", 0)


async def test_a_damaged_record_is_buried(nats_server: NatsServer) -> None:
    """A record that is no record: named in the dead letters, and the stream goes on."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream()
        subject = names.readings_subject(0)
        await js.add_stream(StreamConfig(name=names.readings_stream(0), subjects=[subject]))
        await js.publish(subject, b"\xff\xff\xff")
        await js.publish(subject, record_of(readings_chunk(2, ("a", 1, 10))).SerializeToString())
        target = MemoryTarget(kinds=("readings",))
        async with sinking(client, target):
            await wait_for("10 readings", lambda: len(target.keys()) == 10)
        letter = json.loads((await js.get_msg(names.DEAD_LETTERS_STREAM, seq=1)).data or b"")
    assert letter["row"] == {"generation": 0, "journal_seq": 1}
    assert "damaged" in letter["reason"]


async def test_cursors_are_written_when_nats_is_back(nats_server: NatsServer) -> None:
    """A cursor write that fails is made up for; the cursor in the bucket is the newest."""
    async with connected(nats_server) as writer, connected(nats_server) as client:
        js = writer.jetstream(timeout=1.0)
        journal = await open_journal(js)
        target = MemoryTarget(kinds=("readings",))
        async with running(journal), sinking(client, target):
            await writing(journal, "a", 3)
            await wait_for("30 readings", lambda: len(target.keys()) == 30)
            nats_server.kill()
            nats_server.start()
            await writing(journal, "a", 3)
            await wait_for("60 readings", lambda: len(target.keys()) == 60)

            async def written() -> bool:
                bucket = await js.key_value(names.CURSORS_BUCKET)
                entry = await bucket.get(f"{SINK}.readings.0")
                stored = StoredCursor.read(entry.value or b"")
                return stored is not None and stored.rows_at == target.chunks[-1].position

            await wait_for("the newest cursor", written)


async def test_status_is_published(nats_server: NatsServer) -> None:
    """Once a second, for whoever listens."""
    async with connected(nats_server) as listener, connected(nats_server) as client:
        subscription = await listener.subscribe(names.sink_status_subject(SINK))
        async with sinking(client, MemoryTarget()):
            message = await subscription.next_msg(timeout=5)
    status = SinkStatus.model_validate_json(message.data)
    assert (status.sink, status.state, status.rows_delivered) == (SINK, "running", 0)


async def test_it_ends_whenever_it_is_cancelled(nats_server: NatsServer) -> None:
    """Also in the middle of a request to NATS, where its client swallows a cancellation now and then."""
    async with connected(nats_server) as client:
        for number in range(60):
            task = asyncio.create_task(Driver(client, SINK, 2, MemoryTarget()).run())
            await asyncio.sleep(number / 4000)  # from its first steps until it waits
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=10)
            assert done, f"cancelled after {number / 4} ms"
