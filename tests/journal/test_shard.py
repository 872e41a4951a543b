"""A shard's journal on a real NATS server: appends, fencing, crashes, recovery."""

from __future__ import annotations

import asyncio
import time

import pytest

from ext_proc.journal.append import Appender
from ext_proc.journal.errors import FencedError, LeaseSupersededError, ShardClosedError
from ext_proc.journal.opening import open_shard
from ext_proc.journal.recovery import Position
from ext_proc.journal.shard import ShardJournal
from ext_proc.session.model import Duplicates, Hole
from ext_proc.windows.fold import Fold
from tests.journal.support import (
    NS,
    SETTINGS,
    SMALL,
    check_log,
    connected,
    no_live,
    open_journal,
    policy,
    readings_log,
    run_of,
    running,
    seqs_of,
    wait_for,
    window_rows,
    windows_log,
)
from tests.support.nats import NatsServer
from wire import names
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import JournalFormatError

START = 1_800_000_000 * NS


async def test_what_is_offered_is_in_the_log_in_order(nats_server: NatsServer) -> None:
    """OPEN first, then the rows and notes, then ticks; the committed cursor follows."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        journal = await open_journal(js)
        async with running(journal):
            journal.offer([run_of("a", 1, 600), run_of("b", 1, 700)])
            journal.offer([Duplicates("a", 7, 4), Hole("a", 7, 601, 610, "evicted"), run_of("a", 611, 5)])
            await journal.flush()
            assert journal.committed("a") == (7, 615)
            log = await readings_log(js)

            async def ticked() -> bool:
                kinds = [record.kind for _, record in await readings_log(js)]
                return kinds.count(journal_pb2.ReadingsRecord.TICK) >= 2

            await wait_for("two ticks", ticked)
    check_log(log)
    assert seqs_of(log, "a") == [*range(1, 601), *range(611, 616)]
    assert seqs_of(log, "b") == list(range(1, 701))
    (audit_a, audit_b) = journal.audit().sensors
    assert (audit_a.received, audit_a.duplicate, audit_a.gaps, audit_a.gap_readings) == (609, 4, 1, 10)
    assert audit_b.received == 700


async def test_a_new_policy_is_a_record(nats_server: NatsServer) -> None:
    """Policies and renewed leases enter the log where they come into force."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        journal = await open_journal(js)
        async with running(journal):
            await journal.change_policy(policy(horizon_ms=1000))
            await journal.renew(5, policy(horizon_ms=1000))
            log = [record for _, record in await readings_log(js) if record.HasField("policy")]
    kinds = [(record.kind, record.policy.horizon_ms, record.lease_generation) for record in log]
    opened, changed = journal_pb2.ReadingsRecord.OPEN, journal_pb2.ReadingsRecord.POLICY
    assert kinds == [(opened, 60_000, 1), (changed, 1000, 1), (opened, 1000, 5)]
    with pytest.raises(ShardClosedError):
        await journal.change_policy(policy())


async def test_windows_are_those_of_the_log(nats_server: NatsServer) -> None:
    """The windows stream holds exactly what folding the readings stream emits, in order (W1)."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        journal = await open_journal(js)
        async with running(journal):
            for first in range(1, 200, 20):
                journal.offer([run_of(name, first, 20, start_unix_ns=START) for name in ("a", "b")])
                await journal.flush()
        log, windows = await readings_log(js), await windows_log(js)
    fold = Fold(0)
    emitted = [fold.apply(seq, record).journalled for seq, record in log]
    assert window_rows(windows).to_pydict() | {} == _table(emitted)
    assert window_rows(windows).num_rows == 2 * 20
    assert [record.through for record in windows] == sorted({record.through for record in windows})


def _table(batches: list[object]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {}
    for batch in batches:
        for name, values in batch.to_pydict().items():  # type: ignore[attr-defined]  # record batches
            columns.setdefault(name, []).extend(values)
    return columns


async def test_the_server_dies_again_and_again(nats_server: NatsServer) -> None:
    """SIGKILL of the server at any moment loses and doubles nothing; offers are held back meanwhile."""
    async with connected(nats_server) as client:
        js = client.jetstream(timeout=1.0)
        journal = await open_journal(js)
        sent = 0
        async with running(journal) as task:
            for _ in range(4):
                for _ in range(30):
                    await asyncio.wait_for(journal.room(), 20)
                    journal.offer([run_of("a", sent + 1, 10, start_unix_ns=START)])
                    sent += 10
                    await asyncio.sleep(0.002)
                nats_server.kill()

                async def troubled() -> bool:
                    return journal.trouble is not None

                await wait_for("the shard says that it is troubled", troubled)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(journal.room(), 0.05)
                nats_server.start()
                await asyncio.wait_for(journal.flush(), 20)
                await wait_for("the windows too are appended again", lambda: journal.trouble is None)
            assert not task.done()
        log = await readings_log(js)
    check_log(log)
    assert seqs_of(log, "a") == list(range(1, sent + 1))


async def test_a_second_writer_fences_the_first(nats_server: NatsServer) -> None:
    """The newer lease takes over; the older writer ends, and nothing of it comes after."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js, lease=1, writer="worker-1")
        task = asyncio.create_task(first.run())
        first.offer([run_of("a", 1, 10)])
        await first.flush()
        second = await open_journal(js, lease=2, writer="worker-2")
        assert second.cursor("a").newest == (7, 10)
        first.offer([run_of("a", 11, 10)])
        with pytest.raises(ShardClosedError):
            await first.flush()
        with pytest.raises(FencedError, match="another writer"):
            await task
        with pytest.raises(ShardClosedError):
            first.offer([run_of("a", 21, 10)])
        async with running(second):
            second.offer([run_of("a", 11, 5)])
            await second.flush()
        with pytest.raises(LeaseSupersededError):
            await open_journal(js, lease=1, writer="worker-1")
        log = await readings_log(js)
    check_log(log)
    assert seqs_of(log, "a") == list(range(1, 16))


async def test_what_an_older_writer_appends_while_the_shard_is_opened_is_folded(
    nats_server: NatsServer,
) -> None:
    """OPEN goes in after it; a newer lease that was first is named instead."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js, lease=1, writer="worker-1")
        read = [
            await open_shard(js, 0, f"worker-{lease}", lease, known=None, retention=SMALL) for lease in (2, 3)
        ]
        second, third = (ShardJournal(js, opened, SETTINGS, no_live) for opened in read)
        async with running(first):
            first.offer([run_of("a", 1, 40, start_unix_ns=START)])
            await first.flush()
            await third.open(policy())
        assert (third.committed("a"), third.cursor("a").newest) == ((7, 40), (7, 40))
        with pytest.raises(LeaseSupersededError):
            await second.open(policy())
        async with running(third):
            third.offer([run_of("a", 41, 10, start_unix_ns=START)])
            await third.flush()
        log = await readings_log(js)
    check_log(log)
    assert seqs_of(log, "a") == list(range(1, 51))


async def test_writers_that_steal_from_each_other_lose_nothing(nats_server: NatsServer) -> None:
    """Ten take-overs at any moment: each goes on where the log ends; rows are exactly once."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        tasks = []
        for lease in range(1, 11):
            journal = await open_journal(js, lease=lease, writer=f"worker-{lease}")
            tasks.append(asyncio.create_task(journal.run()))
            _, committed = journal.cursor("a").newest or (7, 0)
            for first in range(committed + 1, committed + 40, 4):
                journal.offer([run_of("a", first, 4, start_unix_ns=START)])
                await asyncio.sleep(0.001)
        await journal.flush()
        journal.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        log, windows = await readings_log(js), await windows_log(js)
    assert all(isinstance(result, FencedError) for result in results[:-1])
    assert results[-1] is None
    check_log(log)
    assert {record.generation for _, record in log} == {1}, "the log never lost its end"
    found = seqs_of(log, "a")
    assert found == list(range(1, len(found) + 1))
    fold = Fold(0)
    emitted = [fold.apply(seq, record).journalled for seq, record in log]
    assert window_rows(windows).to_pydict() == _table(emitted)


@pytest.mark.parametrize("checkpointed", [True, False])
async def test_a_restarted_writer_goes_on(nats_server: NatsServer, *, checkpointed: bool) -> None:
    """From a checkpoint or from the beginning: the same cursors, audit and windows."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js)
        task = asyncio.create_task(first.run())
        for begin in range(1, 101, 10):
            first.offer([run_of("a", begin, 10, start_unix_ns=START)])
            await first.flush()
        if checkpointed:
            first.close()
            await task
        else:
            task.cancel()
            await asyncio.wait({task})
        second = await open_journal(js, lease=2)
        assert second.cursor("a").newest == (7, 100)
        async with running(second):
            second.offer([run_of("a", 101, 20, start_unix_ns=START)])
            await second.flush()
            audit = second.audit()
        log, windows = await readings_log(js), await windows_log(js)
    assert audit.sensors[0].received == audit.sensors[0].aggregated == 120
    fold = Fold(0)
    emitted = [fold.apply(seq, record).journalled for seq, record in log]
    assert window_rows(windows).to_pydict() == _table(emitted)


async def test_windows_that_were_not_appended_are_made_up_for(nats_server: NatsServer) -> None:
    """A writer that died between the readings and their windows is completed by the next."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js)
        async with running(first):
            first.offer([run_of("a", 1, 100, start_unix_ns=START)])
            await first.flush()
        await js.delete_msg(names.CHECKPOINT_STREAM, 1)
        whole = await windows_log(js)
        state = (await js.stream_info(names.windows_stream(0))).state
        assert state.messages == len(whole) > 0
        # The same log without its windows: what a writer leaves that dies in between.
        await js.delete_stream(names.windows_stream(0))
        await open_journal(js, lease=2)
        again = await windows_log(js)
    assert window_rows(again).to_pydict() == window_rows(whole).to_pydict()


async def test_a_lost_stream_begins_a_new_generation(nats_server: NatsServer) -> None:
    """When the log comes back shorter, generation rises and the agents are asked again."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js)
        async with running(first):
            first.offer([run_of("a", 1, 50, start_unix_ns=START)])
            await first.flush()
        await js.delete_stream(names.readings_stream(0))
        second = await open_journal(js, lease=1)
        assert second.position.generation == 2
        assert second.cursor("a").newest is None
        async with running(second):
            second.offer([run_of("a", 1, 50, start_unix_ns=START)])
            await second.flush()
        third = await open_journal(js, lease=3)
        log = await readings_log(js)
    assert third.position.generation == 2
    assert third.cursor("a").newest == (7, 50)
    assert {record.generation for _, record in log} == {2}


async def test_what_was_counted_before_a_loss_stays_counted(nats_server: NatsServer) -> None:
    """A log that lost its end goes on from the checkpoint before it: old records may be discarded by then."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js)
        async with running(first):
            for begin in range(1, 101, 10):
                first.offer([run_of("a", begin, 10, start_unix_ns=START)])
                await first.flush()
        head = first.position.seq
        await js.purge_stream(names.readings_stream(0), seq=head)
        second = await open_journal(js, lease=2, known=Position(1, head + 3))
        assert second.position.generation == 2
        assert second.cursor("a").newest == (7, 100)
        async with running(second):
            second.offer([run_of("a", 101, 20, start_unix_ns=START)])
            await second.flush()
            (audit,) = second.audit().sensors
    assert (audit.received, audit.aggregated, audit.gaps) == (120, 120, 0)


async def test_an_append_without_an_answer_is_settled(nats_server: NatsServer) -> None:
    """A publish that timed out but went in is found by its id, and is not sent twice."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await (await open_journal(js)).open(policy())
        head = (await js.stream_info(names.readings_stream(0))).state.last_seq
        troubles: list[str | None] = []
        appender = Appender(js, names.readings_stream(0), names.readings_subject(0), head, troubles.append)
        publish = js.publish

        async def publish_then_time_out(*args: object, **options: object) -> object:
            await publish(*args, **options)
            js.publish = publish  # only the first answer is lost
            raise TimeoutError("lost answer")

        js.publish = publish_then_time_out
        begun = time.monotonic()
        assert await appender.append(b"x", b"0123456789abcdef") == head + 1
        assert time.monotonic() - begun < 5
        assert (await js.stream_info(names.readings_stream(0))).state.last_seq == head + 1
        assert troubles[-1] is None
        assert troubles[0] is not None


async def test_an_append_that_is_refused_for_ever_is_said(nats_server: NatsServer) -> None:
    """A stream that an operator limited takes no record: the shard is troubled, so nobody reads on."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await open_journal(js)
        stream = names.readings_stream(0)
        info = await js.stream_info(stream)
        await js.update_stream(info.config.evolve(max_msg_size=200))
        troubles: list[str | None] = []
        appender = Appender(js, stream, names.readings_subject(0), info.state.last_seq, troubles.append)
        task = asyncio.create_task(appender.append(b"x" * 300, b"0123456789abcdef"))
        await wait_for("it says so", lambda: bool(troubles))
        assert troubles[0] is not None
        assert "refuses" in troubles[0]
        await js.update_stream(info.config)
        assert await asyncio.wait_for(task, 5) == info.state.last_seq + 1
        assert troubles[-1] is None


async def test_a_record_that_cannot_be_read_is_named(nats_server: NatsServer) -> None:
    """It keeps its shard closed, with a sentence, and no other."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await open_journal(js)
        await js.publish(names.readings_subject(0), b"\xff\xff\xff")
        with pytest.raises(JournalFormatError, match="gw-readings-0, record 2"):
            await open_shard(js, 0, "worker-1", 1, known=None, retention=SMALL)
