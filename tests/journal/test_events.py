"""Events in their stream on a real NATS server: what the log says, once each, whoever writes it."""

from __future__ import annotations

from nats.js import JetStreamContext

from ext_proc.journal.append import Appender
from ext_proc.journal.opening import open_shard
from ext_proc.journal.shard import ShardJournal
from ext_proc.windows.fold import Fold
from tests.journal.support import (
    NS,
    SETTINGS,
    SMALL,
    connected,
    no_live,
    open_journal,
    policy,
    readings_log,
    run_of,
    running,
)
from tests.support.nats import NatsServer
from wire import names
from wire.events import EVENTS_SCHEMA, structured
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import decode_rows

START = 1_800_000_000 * NS
ABOVE = config_pb2.Threshold(side=config_pb2.Threshold.ABOVE, level=50, clear=20)


def rules(*revisions: int) -> config_pb2.RuleSet:
    """Return rules `r1`, `r2`, ... of these revisions: values are sequence numbers, so they begin at 51."""
    return config_pb2.RuleSet(
        rules=[
            config_pb2.Rule(id=f"r{number}", revision=revision, threshold=ABOVE)
            for number, revision in enumerate(revisions, start=1)
        ]
    )


async def event_records(js: JetStreamContext) -> list[journal_pb2.WindowsRecord]:
    """Return the events stream of shard 0."""
    stream = names.events_stream(0)
    last = (await js.stream_info(stream)).state.last_seq
    messages = [await js.get_msg(stream, seq=seq) for seq in range(1, last + 1)]
    return [journal_pb2.WindowsRecord.FromString(message.data or b"") for message in messages]


async def check_events(js: JetStreamContext) -> list[str]:
    """Check that the stream holds what folding the log emits (E1); return the ids."""
    records = await event_records(js)
    told = [event for record in records for event in structured(decode_rows(record.rows, EVENTS_SCHEMA))]
    fold = Fold(0)
    emitted = [fold.apply(seq, record).events for seq, record in await readings_log(js)]
    assert told == [event for rows in emitted for event in structured(rows)]
    assert [record.through for record in records] == sorted({record.through for record in records})
    return [event["id"] for event in told]


async def test_events_are_those_of_the_log(nats_server: NatsServer) -> None:
    """A rule set, followed, changed and removed while rows come: begun, ended with the reasons."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        journal = await open_journal(js)
        async with running(journal):
            await journal.change_rules(rules(1))
            journal.offer([run_of(name, 1, 60, start_unix_ns=START) for name in ("a", "b")])
            await journal.flush()
            await journal.change_rules(rules(1, 2))
            before = len(await readings_log(js))
            await journal.change_rules(rules(1, 2))
            kinds = [record.kind for _, record in (await readings_log(js))[before:]]
            assert journal_pb2.ReadingsRecord.RULES not in kinds, "what is in force is not written again"
            journal.offer([run_of("a", 61, 5, start_unix_ns=START)])
            await journal.flush()
            await journal.change_rules(rules(3))
            await journal.change_rules(rules())
        assert len(await check_events(js)) == 2 * 2 + 2


async def test_an_event_stays_open_over_writers(nats_server: NatsServer) -> None:
    """A writer that ends in order leaves a checkpoint; the next one goes on from it, begins nothing again."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js, lease=1)
        async with running(first):
            await first.change_rules(rules(1))
            first.offer([run_of("a", 1, 60, start_unix_ns=START)])
            await first.flush()
        second = await opened(js, 2)
        async with running(second):
            await second.open(policy(), rules(1))
            second.offer([run_of("a", 61, 60, start_unix_ns=START)])
            await second.flush()
        [begun] = await check_events(js)
        assert begun.endswith(".begin")


async def test_what_a_dead_writer_did_not_append_is_appended_once(nats_server: NatsServer) -> None:
    """Rows in the log whose events are not in the stream: whoever opens the shard appends them (E1)."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js, lease=1)
        async with running(first):
            await first.change_rules(rules(1))
            first.offer([run_of("a", 1, 60, start_unix_ns=START)])
            await first.flush()
        log = await readings_log(js)
        [rows] = [record.rows for _, record in log if record.rows]
        dies = await open_shard(js, 0, "worker-1", 1, known=None, retention=SMALL)
        readings = names.readings_stream(0), names.readings_subject(0), dies.head
        appender = Appender(js, *readings, lambda _: None)
        record = dies.writer.rules(rules(2), log[-1][1].now_unix_ns)  # ends what is open, begins it anew
        await appender.append(record.SerializeToString(), record.append_id)
        record = dies.writer.tick(log[-1][1].now_unix_ns)
        record.kind, record.rows, record.count = journal_pb2.ReadingsRecord.READINGS, rows, 60
        await appender.append(record.SerializeToString(), record.append_id)
        assert len(await event_records(js)) == 1
        for lease in (2, 3):
            await (await opened(js, lease)).open(policy(), rules(2))
            assert [each.rpartition(".")[2] for each in await check_events(js)] == ["begin", "end"]
        await js.purge_stream(names.CHECKPOINT_STREAM)
        await (await opened(js, 4)).open(policy(), rules(2))
        assert len(await check_events(js)) == 2


async def test_lost_events_are_folded_again_with_the_same_ids(nats_server: NatsServer) -> None:
    """An events stream that lost its end: the checkpoint does not hold, the log makes the same events."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        first = await open_journal(js, lease=1)
        async with running(first):
            await first.change_rules(rules(1, 1))
            first.offer([run_of(name, 1, 60, start_unix_ns=START) for name in ("a", "b")])
            await first.flush()
        ids = await check_events(js)
        assert len(ids) == 4
        await js.delete_stream(names.events_stream(0))
        second = await opened(js, 2)
        await second.open(policy(), rules(1, 1))
        assert await check_events(js) == ids


async def opened(js: JetStreamContext, lease: int) -> ShardJournal:
    """Fold shard 0 as a new writer."""
    found = await open_shard(js, 0, f"worker-{lease}", lease, known=None, retention=SMALL)
    return ShardJournal(js, found, SETTINGS, no_live)
