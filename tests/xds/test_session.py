"""The pure core, rule by rule: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol ."""

from __future__ import annotations

import pytest

from control_plane.xds.flight import MAX_IN_FLIGHT
from control_plane.xds.rejection import Rejection
from control_plane.xds.session import MAX_RESPONSE_BYTES, MAX_TYPES, ProtocolError, Request, Session
from tests.xds.pure import NOW, TYPES, Talk, resource, snapshot


def test_nothing_is_sent_before_a_snapshot_is_published() -> None:
    """A node that connects first is held, instead of being told that it runs nothing."""
    talk = Talk()
    assert talk.ask("cds", "*") == []
    assert talk.publish(cds={"a": "1"}) == ["1 cds a@1"]


def test_wildcard_gets_everything() -> None:
    """`*` is sent what there is and what comes later."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "1"})
    assert talk.ask("cds", "*") == ["1 cds a@1 b@1"]
    assert talk.publish(cds={"a": "1", "b": "1", "c": "1"}) == ["2 cds c@1"]


@pytest.mark.parametrize("alias", ["cds", "lds", "sensor"])
def test_naming_nothing_first_means_everything(alias: str) -> None:
    """The legacy wildcard; a name that is subscribed later does not end it."""
    talk = Talk()
    talk.publish(**{alias: {"a": "1", "b": "1"}})
    assert talk.ask(alias) == [f"1 {alias} a@1 b@1"]
    talk.ask(alias, "a", nonce="1")
    assert talk.publish(**{alias: {"a": "1", "b": "2"}})[-1].endswith("b@2")


def test_naming_nothing_means_nothing_for_endpoints() -> None:
    """Envoy asks for no endpoints when its last cluster has gone: that is no wildcard."""
    talk = Talk()
    talk.publish(eds={"a": "1"})
    assert talk.ask("eds") == []
    assert talk.ask("eds", "a") == ["1 eds a@1"]


def test_an_empty_wildcard_is_answered_once() -> None:
    """Envoy waits for its first clusters; that there are none is an answer."""
    talk = Talk()
    talk.publish(cds={})
    assert talk.ask("cds", "*") == ["1 cds"]
    assert talk.ack("cds", "1") == []


def test_what_the_client_states_is_not_sent_again() -> None:
    """initial_resource_versions: only the difference goes out, removals included."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "2", "d": "1"})
    assert talk.ask("cds", "*", has={"a": "1", "b": "1", "c": "1"}) == ["1 cds b@2 d@1 -c"]
    assert Talk(talk.session).ask("lds", has={}) == ["2 lds"]


def test_a_reconnect_with_everything_is_acknowledged_at_once() -> None:
    """A client that runs the snapshot already is sent nothing, and counts as up to date."""
    talk = Talk()
    talk.publish(cds={"a": "1"}, eds={"a": "1"})
    assert talk.ask("cds", "*", has={"a": "1"}) == []
    assert talk.ask("eds", "a", has={"a": "1"}) == []
    assert (talk.acked("cds"), talk.acked("eds")) == (1, 1)


def test_missing_names_are_said_and_remembered() -> None:
    """A name that does not exist is answered, and pushed when it appears."""
    talk = Talk()
    talk.publish(eds={})
    assert talk.ask("eds", "a") == ["1 eds -a"]
    assert talk.ack("eds", "1") == []
    assert talk.publish(eds={"a": "1"}) == ["2 eds a@1"]
    assert talk.publish(eds={}) == ["3 eds -a"]
    assert talk.publish(eds={"a": "1"}) == ["4 eds a@1"]


def test_a_statement_without_a_version_proves_nothing() -> None:
    """The client has something of that name: it is told what it should have, or that it is gone."""
    talk = Talk()
    talk.publish(cds={"a": "1"})
    assert talk.ask("cds", "*", has={"a": "", "b": ""}) == ["1 cds a@1 -b"]
    assert not talk.session.runs(TYPES["cds"], "b", None)
    talk.ack("cds", "1")
    assert talk.session.runs(TYPES["cds"], "b", None)
    assert talk.acked("cds") == 1


def test_a_refusal_of_what_is_not_there_is_forgotten_with_its_name() -> None:
    """A client could otherwise have ever more names remembered, each for its next stream too."""
    talk = Talk()
    talk.publish(eds={"b": "1"})
    talk.ask("eds", "a", "b")
    talk.nack("eds", "1", "a: no, b: no")
    assert talk.session.status()[TYPES["eds"]].rejected.keys() == {"a", "b"}
    talk.ask("eds", drop=["a", "b"])
    assert talk.session.past()[TYPES["eds"]].rejected.keys() == {"b"}


def test_asking_again_sends_again() -> None:
    """Subscribing to what is subscribed is answered, even with what is current."""
    talk = Talk()
    talk.publish(eds={"a": "1"})
    assert talk.ask("eds", "a") == ["1 eds a@1"]
    assert talk.ask("eds", "a", nonce="1") == ["2 eds a@1"]
    assert talk.ask("eds", "gone") == ["3 eds -gone"]
    assert talk.ask("eds", "gone") == ["4 eds -gone"]


def test_dropped_names_are_silent() -> None:
    """After an unsubscribe nothing of the name is sent, until it is asked for again."""
    talk = Talk()
    talk.publish(eds={"a": "1"})
    talk.ask("eds", "a")
    assert talk.ask("eds", drop=["a"], nonce="1") == []
    assert talk.publish(eds={"a": "2"}) == []
    assert talk.ask("eds", "a") == ["2 eds a@2"]


def test_dropping_a_name_that_the_wildcard_covers_is_answered() -> None:
    """The client cannot know whether the wildcard still covers it."""
    talk = Talk()
    talk.publish(cds={"a": "1"})
    talk.ask("cds", "*", "a", "b")
    assert talk.ask("cds", drop=["a", "b"], nonce="1") == ["2 cds a@1 -b"]
    assert talk.ask("cds", drop=["*"]) == []
    assert talk.publish(cds={"a": "2"}) == []


def test_a_stale_nonce_counts_for_interest_only() -> None:
    """Subscriptions of a request with a stale nonce hold; its ACK or NACK does not."""
    talk = Talk()
    talk.publish(eds={"a": "1", "b": "1"})
    talk.ask("eds", "a")
    stale = Request(TYPES["eds"], ("b",), nonce="99", error="of another stream")
    assert talk.session.receive(stale, NOW) is None
    assert talk.sent() == ["2 eds b@1"]
    assert not talk.session.status()[TYPES["eds"]].rejected


def test_a_refused_version_is_not_sent_again() -> None:
    """A NACK holds back what it names until that changes; the rest goes on."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "bad"})
    talk.ask("cds", "*")
    error = "Error adding/updating cluster(s) b: no such thing"
    assert talk.nack("cds", "1", error) == ["2 cds a@1"], "affirmed: so the client states it"
    assert talk.ack("cds", "2") == []
    status = talk.session.status()[TYPES["cds"]]
    assert (status.acked, status.rejected) == ({"a": "1"}, {"b": Rejection("bad", error)})
    assert talk.publish(cds={"a": "2", "b": "bad"}) == ["3 cds a@2"]
    assert talk.ack("cds", "3") == []
    assert talk.acked("cds") == 0
    assert talk.publish(cds={"a": "2", "b": "good"}) == ["4 cds b@good"]
    assert talk.ack("cds", "4") == []
    assert talk.acked("cds") == 3
    assert not talk.session.status()[TYPES["cds"]].rejected


def test_a_refused_version_is_contained_even_when_asked_for() -> None:
    """Asking again for what was refused would be the loop that others run in."""
    talk = Talk()
    talk.publish(eds={"a": "bad"})
    talk.ask("eds", "a")
    assert talk.nack("eds", "1", "a: no") == []
    assert talk.ask("eds", "a") == []
    assert talk.publish(eds={}) == ["2 eds -a"]


def test_a_nack_that_names_nothing_is_narrowed_down() -> None:
    """Envoy drops a whole response for one malformed resource: each goes once more on its own."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "bad", "c": "1"})
    talk.ask("cds", "*")
    error = "Proto constraint validation failed"
    assert talk.nack("cds", "1", error) == ["2 cds a@1", "3 cds b@bad", "4 cds c@1"]
    assert talk.ack("cds", "2") == []
    assert talk.nack("cds", "3", error) == []
    assert talk.ack("cds", "4") == []
    status = talk.session.status()[TYPES["cds"]]
    assert (status.acked, status.rejected) == ({"a": "1", "c": "1"}, {"b": Rejection("bad", error)})
    assert talk.publish(cds={"a": "1", "c": "1"}) == ["5 cds -b"]


def test_going_back_to_the_accepted_version_is_sent() -> None:
    """After a refusal the client may run a mixture: the older version is sent explicitly."""
    talk = Talk()
    talk.publish(cds={"a": "1"})
    talk.ask("cds", "*")
    talk.ack("cds", "1")
    talk.publish(cds={"a": "bad"})
    talk.nack("cds", "2", "a: no")
    assert talk.publish(cds={"a": "1"}) == ["3 cds a@1"]


def test_a_nack_of_an_older_version_does_not_hold_back_the_newer() -> None:
    """A refusal of what has changed meanwhile says nothing of what it changed to."""
    talk = Talk()
    talk.publish(cds={"a": "bad"})
    talk.ask("cds", "*")
    assert talk.publish(cds={"a": "2"}) == ["2 cds a@2"]
    assert talk.nack("cds", "1", "a: no") == []
    assert talk.ack("cds", "2") == []
    assert (talk.acked("cds"), talk.session.status()[TYPES["cds"]].rejected) == (2, {})


def test_types_are_put_in_order_without_waiting() -> None:
    """CDS, EDS, LDS, RDS in one go: Envoy answers a cluster only when its endpoints came."""
    talk = Talk()
    for alias in ("rds", "lds", "eds", "cds"):
        talk.ask(alias, "a")
    assert talk.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"a": "1"}, rds={"a": "1"}) == [
        "1 cds a@1",
        "2 eds a@1",
        "3 lds a@1",
        "4 rds a@1",
    ]


def test_removal_waits_for_what_replaces_it() -> None:
    """Make before break: a cluster goes when the routes and endpoints that changed with it are answered."""
    talk = Talk()
    talk.publish(cds={"old": "1"}, eds={"old": "1"}, rds={"r": "old"})
    for alias in ("cds", "lds"):
        talk.ask(alias)
    talk.ask("eds", "old")
    talk.ask("rds", "r")
    for alias, nonce in (("cds", "1"), ("lds", "2"), ("eds", "3"), ("rds", "4")):
        assert talk.ack(alias, nonce) == []
    assert talk.publish(cds={"new": "1"}, eds={"new": "1"}, rds={"r": "new"}) == [
        "5 cds new@1",
        "6 rds r@new",
    ]
    assert talk.ack("cds", "5") == []
    assert talk.acked("cds") == 1
    assert talk.ack("rds", "6") == ["7 eds -old"]
    assert talk.ask("eds", "new", nonce="7") == ["8 eds new@1"]
    assert talk.ack("eds", "8") == ["9 cds -old"]
    talk.ack("cds", "9")
    assert talk.acked("cds") == 2


def test_workers_lose_sensors_before_their_shard() -> None:
    """A lease goes only when the unassignments are answered."""
    talk = Talk()
    talk.publish(policy={"default": "1"}, lease={"0": "1"}, sensor={"s": "1"})
    for alias in ("sensor", "lease", "policy"):
        talk.ask(alias, "*")
    for alias, nonce in (("sensor", "1"), ("lease", "2"), ("policy", "3")):
        assert talk.ack(alias, nonce) == []
    assert talk.publish(policy={"default": "1"}, lease={}, sensor={}) == ["4 sensor -s"]
    assert not talk.session.runs(TYPES["sensor"], "s", None)
    assert talk.ack("sensor", "4") == ["5 lease -0"]
    assert talk.session.runs(TYPES["sensor"], "s", None)


def test_endpoints_follow_a_changed_cluster() -> None:
    """An updated cluster warms until its endpoints come, and Envoy does not ask for them again."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.ask("eds", "a", "b")
    talk.ack("cds", "1")
    talk.ack("eds", "2")
    assert talk.publish(cds={"a": "2", "b": "1"}, eds={"a": "1", "b": "1"}) == ["3 cds a@2", "4 eds a@1"]


def test_endpoints_follow_a_changed_cluster_over_a_reconnect() -> None:
    """The cluster may be put before the endpoints are asked for, with versions that are current."""
    talk = Talk()
    talk.publish(cds={"a": "2"}, eds={"a": "1"})
    assert talk.ask("cds", "*", has={"a": "1"}) == ["1 cds a@2"]
    assert talk.ask("eds", "a", has={"a": "1"}) == ["2 eds a@1"]


def test_responses_of_one_type_do_not_wait_for_each_other() -> None:
    """A change goes out while the answer to the one before is withheld, up to a bound."""
    talk = Talk()
    talk.publish(cds={"a": "0"})
    talk.ask("cds")
    for version in range(1, MAX_IN_FLIGHT):
        assert talk.publish(cds={"a": str(version)}) == [f"{version + 1} cds a@{version}"]
    assert talk.publish(cds={"a": "x"}) == []
    assert talk.publish(cds={"a": "y", "b": "y"}) == []
    assert talk.ack("cds", "1") == [f"{MAX_IN_FLIGHT + 1} cds a@y b@y"]
    assert talk.acked("cds") == 1


def test_large_changes_go_in_several_responses() -> None:
    """Bodies of about MAX_RESPONSE_BYTES go in one response; the revision counts with the last."""
    big = b"x" * (MAX_RESPONSE_BYTES // 2)
    made = snapshot(cds={})
    clusters = {name: resource(TYPES["cds"], name, "1") for name in "abc"}
    made = type(made)(
        {TYPES["cds"]: {name: type(each)(name, each.type_url, "1", big) for name, each in clusters.items()}}
    )
    session = Session()
    session.update(made, 7, NOW)
    session.receive(Request(TYPES["cds"]), NOW)
    sent = session.responses(NOW)
    assert [[each.name for each in response.put] for response in sent] == [["a", "b"], ["c"]]
    session.receive(Request(TYPES["cds"], nonce="1"), NOW)
    assert session.acked_revisions() == {TYPES["cds"]: 0}
    session.receive(Request(TYPES["cds"], nonce="2"), NOW)
    assert session.acked_revisions() == {TYPES["cds"]: 7}


def test_a_revision_counts_when_all_of_it_is_acknowledged() -> None:
    """Revisions that change nothing of a type count with what is in flight, or at once."""
    talk = Talk()
    talk.publish(cds={"a": "1"})
    assert talk.acked("cds") == 0
    talk.ask("cds")
    talk.publish(cds={"a": "1"}, eds={"a": "1"})
    assert talk.acked("cds") == 0
    talk.ack("cds", "1")
    assert talk.acked("cds") == 2
    talk.publish(cds={"a": "1"}, eds={"a": "2"})
    assert talk.acked("cds") == 3
    talk.ask("eds", "b")
    talk.ack("eds", "2")
    assert talk.acked("eds") == 0, "the client has not asked for a"


def test_constant_change_does_not_hold_a_revision_back() -> None:
    """An ACK counts for the revision it was sent for, whatever was published since."""
    talk = Talk()
    talk.publish(cds={"a": "1"})
    talk.ask("cds")
    for version in range(2, 9):
        talk.publish(cds={"a": str(version)})
        talk.ack("cds", str(version - 1))
        assert talk.acked("cds") == version - 1


def test_an_older_answer_that_comes_late_takes_nothing_back() -> None:
    """Responses are applied as they were sent: who took the newer one runs it."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.publish(cds={"a": "2", "b": "1"})
    talk.ack("cds", "2")
    assert talk.acked("cds") == 0, "nothing is known of b"
    assert talk.ack("cds", "1") == []
    assert talk.session.status()[TYPES["cds"]].acked == {"a": "2", "b": "1"}
    assert talk.acked("cds") == 2


def test_an_older_refusal_that_comes_late_means_the_rest_alone() -> None:
    """Of what was taken since in a newer version it says nothing any more."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.publish(cds={"a": "2", "b": "1"})
    talk.ack("cds", "2")
    assert talk.nack("cds", "1", "no") == []
    status = talk.session.status()[TYPES["cds"]]
    assert status.acked == {"a": "2"}
    assert status.rejected.keys() == {"b"}


def test_what_was_never_settled_is_sent_again_on_the_next_stream() -> None:
    """Envoy applies the good part of a refused response but states none of it when it reconnects."""
    talk = Talk()
    talk.publish(cds={"good": "1", "b": "bad", "lost": "1"})
    talk.ask("cds", "*")
    talk.nack("cds", "1", "b: no")
    talk.publish(cds={"good": "1", "b": "bad", "lost": "2"})
    again = Talk(Session(talk.session.past()))
    again.publish(cds={})
    assert again.ask("cds", "*", has={}) == ["1 cds -b -good -lost"]


def test_a_late_application_is_believed_on_the_next_stream() -> None:
    """A worker that states the version it had refused at first runs it: nothing is sent."""
    talk = Talk()
    talk.publish(lease={"0": "7"})
    talk.ask("lease", "*")
    talk.nack("lease", "1", "shard 0: not applied within 10 s, still trying")
    assert talk.acked("lease") == 0
    again = Talk(Session(talk.session.past()))
    again.publish(lease={"0": "7"})
    assert again.ask("lease", "*", has={"0": "7"}) == []
    assert again.acked("lease") == 1


def test_a_statement_older_than_what_was_sent_is_not_believed() -> None:
    """After a partial refusal the client states the old version while it runs the new one."""
    talk = Talk()
    talk.publish(cds={"a": "1", "b": "1"})
    talk.ask("cds", "*")
    talk.ack("cds", "1")
    talk.publish(cds={"a": "2", "b": "bad"})
    talk.nack("cds", "2", "b: no")
    again = Talk(Session(talk.session.past()))
    again.publish(cds={"a": "1", "b": "1"})
    assert again.ask("cds", "*", has={"a": "1", "b": "1"}) == ["1 cds a@1"]


def test_runs_knows_only_what_was_said() -> None:
    """A resource runs when it is acknowledged, and is gone only when nothing of it is under way."""
    talk = Talk()
    runs = talk.session.runs
    assert not runs(TYPES["sensor"], "s", None), "the client has not spoken"
    talk.publish(sensor={"s": "1"})
    talk.ask("sensor", "*")
    assert not runs(TYPES["sensor"], "s", "1")
    assert not runs(TYPES["sensor"], "s", None)
    talk.nack("sensor", "1", "s: not applied within 10 s, still trying")
    assert not runs(TYPES["sensor"], "s", None)
    talk.publish(sensor={})
    talk.nack("sensor", "2", "s: not applied within 10 s, still trying")
    assert not runs(TYPES["sensor"], "s", None)
    talk.publish(sensor={"s": "2"})
    talk.ack("sensor", "3")
    assert runs(TYPES["sensor"], "s", "2")
    talk.publish(sensor={})
    talk.ack("sensor", "4")
    assert runs(TYPES["sensor"], "s", None)


def test_unknown_types_come_last_and_are_answered() -> None:
    """A type that nobody serves here is asked for in vain, not in error."""
    session = Session()
    session.update(snapshot(cds={"a": "1"}), 1, NOW)
    session.receive(Request("type.googleapis.com/other.Type", ("x",)), NOW)
    session.receive(Request(TYPES["cds"]), NOW)
    responses = session.responses(NOW)
    assert [response.type_url for response in responses] == [TYPES["cds"], "type.googleapis.com/other.Type"]
    assert responses[1].removed == ("x",)


def test_requests_that_break_the_protocol_are_refused() -> None:
    """A request needs a type, and a stream has a bounded number of them."""
    session = Session()
    with pytest.raises(ProtocolError, match="type_url is empty"):
        session.receive(Request(""), NOW)
    for number in range(MAX_TYPES):
        session.receive(Request(f"type.googleapis.com/t{number}"), NOW)
    with pytest.raises(ProtocolError, match="more than 32 types"):
        session.receive(Request("type.googleapis.com/one.more"), NOW)
