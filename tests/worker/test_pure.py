"""The pure parts of follower and worker: back-off, pacing, stream state, resources."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.follower.pacing import Backoff, Pacer
from ext_proc.follower.state import StreamState
from ext_proc.worker.config import WorkerConfig
from ext_proc.worker.resources import Lease, ResourceError, decode_resource, time_bounds
from tests.journal.support import policy
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import CLUSTER_TYPE, LEASE_TYPE, POLICY_TYPE, SENSOR_TYPE
from wire.status import StreamReport, StreamStatus

NS = 1_000_000_000


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=100))
def test_delays_grow_to_their_limit_and_never_vanish(randoms: list[float]) -> None:
    """Each delay is between half and all of a doubling step, capped."""
    backoff = Backoff(first_s=0.1, most_s=5.0)
    for failures, random in enumerate(randoms):
        step = min(5.0, 0.1 * 2**failures)
        assert step / 2 <= backoff.next_s(random) <= step
    backoff.reset()
    assert backoff.next_s(0.0) == pytest.approx(0.05)


@given(st.lists(st.integers(0, 20_000_000), min_size=2, max_size=200))
def test_opens_keep_their_distance(gaps: list[int]) -> None:
    """However opens are asked for, they start at least 1/rate apart and never early."""
    pacer = Pacer(100)
    now, starts = 0, []
    for gap in gaps:
        now += gap
        wait = round(pacer.reserve_s(now) * NS)
        assert wait >= 0
        starts.append(now + wait)
    assert all(later - earlier >= NS // 100 - 1 for earlier, later in itertools.pairwise(starts))


def test_the_state_of_a_stream() -> None:
    """connecting, live, silent until a frame comes, backoff when it ends; `since` marks each change."""
    state = StreamState("press-1", "here:1", 0)
    state.opening(1)
    assert state.status(None, None, 1).state == "connecting"
    state.frames(10, 2 * NS)
    live = state.status((7, 10), (7, 4), 2 * NS)
    assert (live.state, live.since_unix_ns, live.readings_per_s) == ("live", 2 * NS, 5.0)
    assert (live.epoch, live.accepted_seq, live.committed_seq) == (f"{7:016x}", 10, 4)
    state.frames(0, 3 * NS)
    assert state.status((7, 10), (7, 10), 4 * NS).last_reading_unix_ns == 2 * NS
    state.silent(5.0, 8 * NS)
    state.opening(9 * NS)
    silent = state.status(None, None, 9 * NS)
    assert (silent.state, silent.reconnects, silent.error) == ("silent", 1, "no frame for 5 s")
    state.ended("the stream was reset", 10 * NS)
    assert state.status(None, None, 10 * NS).state == "backoff"
    state.opening(11 * NS)
    state.frames(1, 12 * NS)
    again = state.status(None, None, 12 * NS)
    assert (again.state, again.error, again.reconnects) == ("live", None, 2)


def test_a_report_of_a_stream_is_its_status() -> None:
    """What a worker writes is what others read."""
    state = StreamState("press-1", "here:1", 0)
    state.ended("the stream was reset", 2 * NS)
    report = state.status((7, 10), (7, 4), 2 * NS)
    status = StreamStatus.model_validate_json(msgspec.json.encode(report))
    assert msgspec.to_builtins(report) == status.model_dump()
    assert set(StreamReport.__struct_fields__) == set(StreamStatus.model_fields)


def sensor(**change: object) -> bytes:
    """Return a good assignment of press-1 with changes."""
    good: dict[str, object] = {
        "sensor_id": "press-1",
        "site": "hall-3",
        "shard": 1,
        "cluster": "host.lab",
        "endpoint_version": "127.0.0.2:80",
        "metrics": [config_pb2.Metric(name="temperature", unit="Cel")],
    }
    message = config_pb2.SensorAssignment(**{**good, **change})  # type: ignore[arg-type]  # a table of cases
    return message.SerializeToString()


def windows(*sizes: int) -> bytes:
    """Return a policy with these sizes."""
    return config_pb2.WindowPolicy(
        sizes=[config_pb2.WindowSize(size_ms=size) for size in sizes]
    ).SerializeToString()


@pytest.mark.parametrize(
    ("type_url", "name", "body", "sentence"),
    [
        (SENSOR_TYPE, "press-2", sensor(), "press-2: sensor_id 'press-1' must be the resource's name"),
        (SENSOR_TYPE, "Press", sensor(sensor_id="Press"), "sensor_id 'Press' must be a DNS label"),
        (SENSOR_TYPE, "press-1", sensor(cluster=""), "press-1: cluster must not be empty"),
        (SENSOR_TYPE, "press-1", sensor(endpoint_version=""), "endpoint_version must not be empty"),
        (SENSOR_TYPE, "press-1", sensor(metrics=[]), "press-1: metrics must not be empty"),
        (SENSOR_TYPE, "press-1", sensor(metrics=[config_pb2.Metric(name="T", unit="K")]), "metrics.name 'T'"),
        (SENSOR_TYPE, "press-1", sensor(metrics=[config_pb2.Metric(name="t", unit="a b")]), "metrics.unit"),
        (SENSOR_TYPE, "press-1", sensor(metrics=[config_pb2.Metric(name="t", unit="K")] * 2), "'t' twice"),
        (SENSOR_TYPE, "press-1", b"\xff", "press-1: not a SensorAssignment message"),
        (LEASE_TYPE, "1", config_pb2.ShardLease(shard=2).SerializeToString(), "shard 2 must be"),
        (LEASE_TYPE, "2", config_pb2.ShardLease(shard=2).SerializeToString(), "lease_generation"),
        (POLICY_TYPE, "other", windows(1000), "the only policy is 'default'"),
        (POLICY_TYPE, "default", windows(), "sizes must not be empty"),
        (POLICY_TYPE, "default", windows(1000, 1000), "sizes must differ"),
        (POLICY_TYPE, "default", windows(0), "size_ms must be 1 to 86400000"),
        (CLUSTER_TYPE, "c", b"", "a worker takes no"),
    ],
)
def test_resources_that_break_a_rule(type_url: str, name: str, body: bytes, sentence: str) -> None:
    """The error names the resource, the field and the rule."""
    with pytest.raises(ResourceError) as caught:
        decode_resource(type_url, name, body)
    assert sentence in str(caught.value)


def test_good_resources() -> None:
    """Each type becomes a value of its own."""
    lease = config_pb2.ShardLease(shard=3, lease_generation=4).SerializeToString()
    assert decode_resource(LEASE_TYPE, "3", lease) == Lease(3, 4)
    assert decode_resource(POLICY_TYPE, "default", policy().SerializeToString()) == policy()
    assignment = decode_resource(SENSOR_TYPE, "press-1", sensor())
    assert getattr(assignment, "place", None) == (1, "host.lab", "127.0.0.2:80")


def test_time_bounds() -> None:
    """Event times are accepted from max_past before now to max_future_skew after it."""
    bounds = time_bounds(config_pb2.WindowPolicy(max_past_ms=5, max_future_skew_ms=7), 100_000_000)
    assert (bounds.earliest_unix_ns, bounds.latest_unix_ns) == (95_000_000, 107_000_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node_id", "Not A Label"),
        ("xds_address", "127.0.0.1"),
        ("xds_address", "127.0.0.1:1,"),
        ("xds_address", "127.0.0.1:1,127.0.0.2"),
        ("gateway_url", "127.0.0.1:80"),
        ("ext_proc_socket", "x" * 108),
        ("batch_rows", 0),
        ("tick_ms", 5000),
        ("unknown", 1),
    ],
)
def test_configuration_errors_name_the_field(field: str, value: object) -> None:
    """A bad configuration says which field."""
    good: dict[str, object] = {
        "node_id": "worker-1",
        "xds_address": "127.0.0.1:1",
        "nats_url": "nats://127.0.0.1:1",
        "gateway_url": "http://127.0.0.1:1",
        "ext_proc_socket": "/tmp/worker.sock",
    }
    WorkerConfig.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        WorkerConfig.model_validate({**good, field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
