"""Times to live: told to clients that understand them, and renewed when half has passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.resources.model import new_snapshot
from control_plane.xds import delta, sotw
from control_plane.xds.messages import Request, Response, Variant
from control_plane.xds.session import Session
from tests.xds.pure import NOW, TYPES, resource
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

SECOND = 1_000_000_000
EDS = TYPES["eds"]


def session(variant: Variant, *, ttl: bool = True, ttl_s: float | None = 10.0) -> Session:
    """Return a session whose client has accepted one resource."""
    made = Session(variant=variant, ttl=ttl)
    made.update(new_snapshot([replace(resource(EDS, "a", "1"), ttl_s=ttl_s)], [EDS]), 1, NOW)
    made.receive(Request(EDS, ("a",)), NOW)
    (first,) = made.responses(NOW)
    assert not first.beats
    made.receive(Request(EDS, ("a",) if variant == "sotw" else (), nonce=first.nonce), NOW)
    return made


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_a_time_to_live_is_renewed_at_half_of_it(variant: Variant) -> None:
    """Not before; and again after that; an answer is due as to anything else."""
    made = session(variant)
    for beat in (1, 2, 3):
        due = NOW + beat * 5 * SECOND
        assert made.next_beat == due
        assert made.responses(due - 1) == []
        (response,) = made.responses(due)
        assert response.beats == {"a"}
        assert made.responses(due) == []
        made.receive(Request(EDS, ("a",) if variant == "sotw" else (), nonce=response.nonce), due)


@pytest.mark.parametrize(("ttl", "ttl_s"), [(False, 10.0), (True, None)])
def test_who_does_not_know_of_it_is_not_bothered(ttl: bool, ttl_s: float | None) -> None:
    """Nor is a resource without one renewed."""
    made = session("delta", ttl=ttl, ttl_s=ttl_s)
    assert made.next_beat is None
    assert made.responses(NOW + 100 * SECOND) == []


def test_a_change_is_no_heartbeat() -> None:
    """It begins the time anew, and travels with its body."""
    made = session("delta")
    at = NOW + 4 * SECOND
    made.update(new_snapshot([replace(resource(EDS, "a", "2"), ttl_s=10.0)], [EDS]), 2, at)
    (response,) = made.responses(at)
    assert not response.beats
    assert made.next_beat == at + 5 * SECOND


def test_another_time_to_live_is_told_though_the_version_is_the_same() -> None:
    """It is not part of the version."""
    made = session("delta")
    made.update(new_snapshot([replace(resource(EDS, "a", "1"), ttl_s=60.0)], [EDS]), 2, NOW)
    (response,) = made.responses(NOW)
    assert [each.ttl_s for each in response.put] == [60.0]
    assert made.next_beat == NOW + 30 * SECOND


def test_a_heartbeat_has_no_body_in_delta_and_a_wrapper_in_sotw() -> None:
    """SotW repeats the resource: what is left out of a full state would be gone."""
    lives = replace(resource(EDS, "a", "1"), ttl_s=1.5)
    response = Response(EDS, "7", (lives,), (), 1, "v", frozenset({"a"}))
    (entry,) = delta.write_response(response, ttl=True).resources
    assert (entry.name, entry.version, entry.HasField("resource")) == ("a", "1", False)
    assert (entry.ttl.seconds, entry.ttl.nanos) == (1, 500_000_000)
    (wrapped,) = sotw.write_response(response, ttl=True).resources
    assert wrapped.type_url == "type.googleapis.com/envoy.service.discovery.v3.Resource"
    assert discovery_pb2.Resource.FromString(wrapped.value).resource.value == b"a@1"
    (plain,) = sotw.write_response(response, ttl=False).resources
    assert (plain.type_url, plain.value) == (EDS, b"a@1")


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_what_a_client_has_from_the_stream_before_is_renewed_at_once(variant: Variant) -> None:
    """Nobody knows how much of its time has passed while there was no stream."""
    before = session(variant)
    states = Request(EDS, ("a",), has={"a": "1"}) if variant == "delta" else None
    version = next(iter(before.past()[EDS].statements), "")
    again = Session(before.past(), variant, ttl=True)
    again.update(new_snapshot([replace(resource(EDS, "a", "1"), ttl_s=10.0)], [EDS]), 1, NOW)
    again.receive(states or Request(EDS, ("a",), version=version), NOW)
    (response,) = again.responses(NOW)
    assert response.beats == {"a"}
    assert again.responses(NOW) == []


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_the_last_good_version_is_renewed_while_a_newer_one_is_refused(variant: Variant) -> None:
    """Otherwise the client would drop it: the refusal would have taken the good one down."""
    made = session(variant)
    bad = replace(resource(EDS, "a", "bad"), ttl_s=10.0)
    made.update(new_snapshot([bad], [EDS]), 2, NOW)
    (response,) = made.responses(NOW)
    names = ("a",) if variant == "sotw" else ()
    made.receive(Request(EDS, names, nonce=response.nonce, error="a: no"), NOW)
    for each in made.responses(NOW):
        made.receive(Request(EDS, names, nonce=each.nonce), NOW)
    for beat in (1, 2):
        (response,) = made.responses(NOW + beat * 5 * SECOND)
        assert [each.version for each in response.put] == ["1"]
        made.receive(Request(EDS, names, nonce=response.nonce), NOW + beat * 5 * SECOND)
