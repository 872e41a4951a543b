"""What failed, as Envoy's access log says it: read, explained, remembered, and streamed by a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.data.accesslog.v3 import ResponseFlags
from hypothesis import given
from hypothesis import strategies as st

from control_plane.observe.access_log import FLAGS, Failure, UnreadableLogError, failures, read_message
from control_plane.observe.access_log_service import MAX_MESSAGE_BYTES, SERVICE
from control_plane.observe.failures import LastFailures
from tests.control_plane.observing import CHUNKED, Observer, observer, refusing, resetting, watched
from tests.xds.support import eventually
from wire.gen.gaugeway.envoy.v1 import access_log_pb2
from wire.names import ENVOY_ROLE

NOW_NS = 1_770_000_000_000_000_000
METHOD = f"/{SERVICE}/StreamAccessLogs"


def entry(sensor_id: str | None = "press-1", ended_unix_ns: int = NOW_NS, **flags: bool) -> Any:
    """Return an entry of a stream that began a second before it failed."""
    made = access_log_pb2.HttpAccessLogEntry()
    common = made.common_properties
    common.start_time.FromNanoseconds(ended_unix_ns - 1_000_000_000)
    common.duration.FromSeconds(1)
    common.response_flags.SetInParent()
    for name in flags:
        setattr(common.response_flags, name, True)
    if sensor_id is not None:
        common.metadata.filter_metadata["envoy.lb"].fields["sensor"].string_value = sensor_id
    return made


def message(*entries: Any, node: str | None = "envoy-1", role: str = ENVOY_ROLE) -> Any:
    """Return a message of these entries; the first of a stream names its node."""
    made = access_log_pb2.StreamAccessLogsMessage()
    if node is not None:
        made.identifier.node.id, made.identifier.node.cluster = node, role
    made.http_logs.log_entry.extend(entries)
    return made


def failure(**changes: Any) -> Failure:
    """Return a failure, changed."""
    [(_, made)] = failures(message(entry(upstream_connection_failure=True)), "envoy-1", NOW_NS)
    return Failure(**{**{name: getattr(made, name) for name in made.__slots__}, **changes})


# --- read and explained -----------------------------------------------------------------------
def test_texts_can_be_shown_on_a_terminal() -> None:
    """What a VM wrote, and Envoy quotes, moves no cursor and rings no bell."""
    made = entry()
    made.response.response_code_details = "odd\x1b[2J\u202e"
    made.common_properties.upstream_transport_failure_reason = "odd\nlines\x07"
    [(_, found)] = failures(message(made), "envoy-1", NOW_NS)
    assert (found.details, found.transport_failure) == ("odd?[2J?", "odd?lines?")
    assert found.reason.isprintable()


def test_every_flag_of_envoy_has_words() -> None:
    """The numbers and names of Envoy's own message; `unauthorized_details` is no failure of ours."""
    theirs = {
        name: number for name, number in _numbers(ResponseFlags()).items() if name != "unauthorized_details"
    }
    ours = {field.name: field.number for field in access_log_pb2.ResponseFlags.DESCRIPTOR.fields}
    assert ours == theirs
    for name in ours:
        [(_, read)] = failures(message(entry("press-1", NOW_NS, **{name: True})), "envoy-1", NOW_NS)
        assert read.reason == FLAGS[read.flags[0]]


def _numbers(theirs: Any) -> dict[str, int]:
    return {name: meta.number for name, meta in theirs._betterproto.meta_by_field_name.items()}


@pytest.mark.parametrize(
    ("flags", "status", "details", "transport", "reason"),
    [
        (
            ("upstream_connection_failure",),
            503,
            "upstream_reset",
            "Connection refused",
            "the connection to its VM failed: Connection refused",
        ),
        (
            ("upstream_connection_failure", "upstream_retry_limit_exceeded"),
            503,
            "",
            "",
            "the connection to its VM failed, and it was tried as often as Envoy does",
        ),
        (
            ("no_healthy_upstream",),
            503,
            "no_healthy_upstream",
            "",
            "Envoy has no endpoint of it: no_healthy_upstream",
        ),
        (("no_healthy_upstream",), 500, "ext_proc_error_x", "", "Envoy has no endpoint of it"),
        (
            (),
            500,
            "ext_proc_error_x",
            "",
            "the worker beside Envoy did not take the stream: ext_proc_error_x",
        ),
        ((), 503, "via_upstream", "", "its VM answered 503"),
        ((), None, "", "", "Envoy does not say why"),
    ],
)
def test_a_failure_is_explained(
    flags: tuple[str, ...], status: int | None, details: str, transport: str, reason: str
) -> None:
    """In a sentence of words first, Envoy's own text after it."""
    made = entry("press-1", NOW_NS, **dict.fromkeys(flags, True))
    made.common_properties.upstream_transport_failure_reason = transport
    made.response.response_code_details = details
    if status is not None:
        made.response.response_code.value = status
    [(sensor_id, read)] = failures(message(made), "envoy-1", NOW_NS)
    assert (sensor_id, read.reason, read.status) == ("press-1", reason, status)
    assert (read.ended_unix_ns, read.heard_unix_ns, read.lasted_s) == (NOW_NS, NOW_NS, 1.0)


def test_what_envoy_says_is_bounded() -> None:
    """Long texts are cut, a clock that is a day off is not believed, no metadata is no sensor."""
    made = entry(sensor_id=None, ended_unix_ns=NOW_NS + 2 * 86_400_000_000_000)
    made.response.response_code_details = "x" * 10_000
    [(sensor_id, read)] = failures(message(made), "envoy-1", NOW_NS)
    assert sensor_id == ""
    assert len(read.details) == 300
    assert read.ended_unix_ns == NOW_NS


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing else is raised, whatever comes."""
    with contextlib.suppress(UnreadableLogError):
        list(failures(read_message(data), "envoy-1", NOW_NS))


# --- remembered ---------------------------------------------------------------------------------
def test_the_last_failure_is_kept() -> None:
    """By when it ended: an Envoy's log streams overtake each other. A sensor's former life is not its own."""
    last = LastFailures({"press-1"}.__contains__)
    assert last.note("press-1", failure(ended_unix_ns=5, flags=("UF",)))
    assert last.note("press-1", failure(ended_unix_ns=3, flags=("UC",)))
    kept = last.of("press-1", 0)
    assert kept is not None
    assert kept.flags == ("UF",)
    assert last.of("press-1", NOW_NS + 1) is None
    assert not last.note("press-2", failure())
    assert last.of("press-2", 0) is None


def test_memory_is_bounded_by_the_fleet() -> None:
    """A fleet that is replaced again and again leaves no more than about twice itself behind."""
    known: set[str] = set()
    last = LastFailures(known.__contains__)
    for generation in range(50):
        known.clear()
        known.update(f"s-{generation}-{number}" for number in range(100))
        for sensor_id in known:
            assert last.note(sensor_id, failure())
        for number in range(1000):
            assert not last.note(f"stranger-{number}", failure())
    assert len(last) <= 2 * 100 + 256


# --- served ---------------------------------------------------------------------------------------
@pytest.fixture
async def told() -> AsyncIterator[Observer]:
    """A server that knows press-1."""
    async with observer({"press-1"}) as served:
        yield served


def stream(channel: grpc.aio.Channel) -> Any:
    """Open a log stream; messages are bytes."""
    return channel.stream_unary(METHOD, None, None)()  # type: ignore[call-arg]


async def test_broken_messages_hurt_nobody(told: Observer) -> None:
    """They are counted; what comes after them on the same stream counts as before."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{told.port}") as channel:
        call = stream(channel)
        await call.write(message(node="envoy-1").SerializeToString())
        await call.write(b"\xff\xff not protobuf")
        await call.write(message(entry()).SerializeToString() + b"\x12" + b"\xff" * 3)
        huge = message(*[entry(f"press-{number}") for number in range(20_000)], node=None).SerializeToString()
        assert len(huge) > MAX_MESSAGE_BYTES
        await call.write(huge)
        strangers = message(entry("nobody", no_route_found=True), entry(None, local_reset=True), node=None)
        await call.write(strangers.SerializeToString())
        await call.write(message(entry(upstream_connection_failure=True), node=None).SerializeToString())
        assert (await told.failure("press-1")).flags == ("UF",)
        await call.done_writing()
        assert await call == b""
    assert told.count("refused", reason="unreadable") == 2
    assert told.count("refused", reason="too_large") == 1
    assert told.count("strangers") == 2
    assert [told.count("entries", flag=flag) for flag in ("UF", "NR", "LR")] == [1, 1, 1]


async def test_a_message_beyond_all_limits_ends_its_own_stream_only(told: Observer) -> None:
    """The library refuses it; the next stream is served."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{told.port}") as channel:
        call = stream(channel)
        await call.write(message().SerializeToString() + b"\x1a" + bytes(32 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        again = stream(channel)
        await again.write(message(entry(upstream_remote_reset=True)).SerializeToString())
        assert (await told.failure("press-1")).flags == ("UR",)


@pytest.mark.parametrize(
    ("node", "role"), [(None, ""), ("", ENVOY_ROLE), ("x" * 64, ENVOY_ROLE), ("envoy-1", "gaugeway-worker")]
)
async def test_a_stream_must_say_which_envoy_it_is_of(told: Observer, node: str | None, role: str) -> None:
    """A clear status says what is missing."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{told.port}") as channel:
        call = stream(channel)
        await call.write(message(entry(), node=node, role=role).SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "identifier.node must name an Envoy" in str(raised.value.details())
    assert told.last.of("press-1", 0) is None


async def test_stopping_waits_for_no_stream(told: Observer) -> None:
    """A stream that its client never ends is told that the control plane stops."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{told.port}") as channel:
        call = stream(channel)
        await call.write(message(entry()).SerializeToString())
        await told.failure("press-1")
        stopping = asyncio.create_task(told.stop())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        await stopping
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


# --- streamed by Envoy ----------------------------------------------------------------------------
async def test_envoy_says_why_a_stream_failed(tmp_path: Path) -> None:
    """Refused, reset and unknown each have their reason; the sensor is told by metadata, not by the VM."""
    liar = b"HTTP/1.1 503 No\r\nx-gaugeway-sensor: refused\r\ncontent-length: 0\r\n\r\n"
    async with watched(tmp_path) as seen, resetting() as reset, resetting(liar) as lying:
        refused = refusing()
        await seen.run({"refused": refused, "reset": reset, "lying": lying})
        seen.observer.known.add("unplaced")

        assert await seen.ask("refused") == 503
        failed = await seen.observer.failure("refused")
        assert (failed.node, failed.flags, failed.status) == ("envoy-1", ("UF",), 503)
        assert (failed.upstream, failed.cluster) == (refused.version, "host.lab")
        assert "Connection refused" in failed.transport_failure
        assert failed.reason == "the connection to its VM failed: delayed connect error: Connection refused"
        assert abs(failed.ended_unix_ns - failed.heard_unix_ns) < 5_000_000_000

        assert await seen.ask("reset") == 503
        failed = await seen.observer.failure("reset")
        assert (failed.flags, failed.upstream) == (("UC",), reset.version)
        assert "closed the connection" in failed.reason

        assert await seen.ask("lying") == 503
        failed = await seen.observer.failure("lying")
        assert failed.reason == "its VM answered 503"
        assert (await seen.observer.failure("refused")).flags == ("UF",)

        assert await seen.ask("unplaced") == 503
        assert (await seen.observer.failure("unplaced")).flags == ("UH",)


async def test_envoy_says_that_a_stream_was_cut(tmp_path: Path) -> None:
    """Also long after it began, and how long it had lasted."""
    async with watched(tmp_path) as seen, resetting(CHUNKED, after_s=0.5) as cut:
        await seen.run({"press-1": cut})
        assert await seen.ask("press-1") is None
        failed = await seen.observer.failure("press-1")
        assert set(failed.flags) & {"UC", "UR", "UPE"}
        assert failed.lasted_s >= 0.5
        assert failed.status == 200


async def test_envoy_says_that_no_worker_takes_streams(tmp_path: Path) -> None:
    """No flag says so: the status and its details do."""
    async with watched(tmp_path) as seen, resetting(CHUNKED, after_s=0.5) as vm:
        await seen.run({"press-1": vm})
        await seen.worker_away()
        assert await seen.ask("press-1") == 500
        failed = await seen.observer.failure("press-1")
        assert failed.reason.startswith("the worker beside Envoy did not take the stream: ext_proc")


async def test_envoy_goes_on_after_a_restart_of_the_control_plane(tmp_path: Path) -> None:
    """Failures are told again as soon as the control plane is back, by themselves."""
    async with watched(tmp_path) as seen:
        await seen.run({"press-1": refusing()})
        await seen.ask("press-1")
        await seen.observer.failure("press-1")
        await seen.observer.stop()
        await seen.ask("press-1")  # nobody hears it
        await seen.observer.start()
        assert seen.observer.last.of("press-1", 0) is None

        async def told() -> Failure | None:
            await seen.ask("press-1")
            return seen.observer.last.of("press-1", 0)

        assert (await eventually("failures are told again", told)).flags == ("UF",)
