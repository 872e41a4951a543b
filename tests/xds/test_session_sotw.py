"""The State of the World in the pure core: where it differs from Delta."""

from __future__ import annotations

import pytest

from control_plane.xds.fingerprint import Fingerprint
from control_plane.xds.past import Past
from control_plane.xds.rejection import Rejection
from control_plane.xds.session import Session
from tests.xds.pure import TYPES, Talk

REFUSED = "Error adding/updating cluster(s) b: no such thing"


def sotw(past: dict[str, Past] | None = None) -> Talk:
    """Return a conversation with a SotW session."""
    return Talk(Session(past, "sotw"))


def version(**versions: str) -> str:
    """Return the version_info of `{name: version}`."""
    return str(Fingerprint.of(versions))


@pytest.mark.parametrize("alias", ["cds", "lds"])
def test_clusters_and_listeners_are_full_state(alias: str) -> None:
    """Each response repeats all there is: what it leaves out is gone."""
    talk = sotw()
    talk.publish(**{alias: {"a": "1", "b": "1"}})
    assert talk.ask(alias) == [f"1 {alias} a@1 b@1"]
    talk.ask(alias, nonce="1")
    assert talk.publish(**{alias: {"a": "1", "b": "2"}}) == [f"2 {alias} a@1 b@2"]
    talk.ask(alias, nonce="2")
    assert talk.publish(**{alias: {"b": "2"}}) == [f"3 {alias} b@2"]


@pytest.mark.parametrize("alias", ["eds", "rds", "sensor"])
def test_other_types_are_partial(alias: str) -> None:
    """Only what changed is said, and nothing of what is gone: absence is not deletion."""
    talk = sotw()
    talk.publish(**{alias: {"a": "1", "b": "1"}})
    assert talk.ask(alias, "a", "b") == [f"1 {alias} a@1 b@1"]
    assert talk.ask(alias, "a", "b", nonce="1") == []
    assert talk.publish(**{alias: {"a": "1", "b": "2"}}) == [f"2 {alias} b@2"]
    assert talk.ask(alias, "a", "b", nonce="2") == []
    assert talk.publish(**{alias: {"b": "2"}}) == []
    assert not talk.session.runs(TYPES[alias], "a", None), "it still has that"
    assert talk.publish(**{alias: {"a": "1", "b": "2"}}) == []


def test_one_response_of_a_type_is_in_flight() -> None:
    """What changes meanwhile waits, and goes out as its newest state."""
    talk = sotw()
    talk.publish(eds={"a": "1"})
    assert talk.ask("eds", "a") == ["1 eds a@1"]
    assert talk.publish(eds={"a": "2"}) == []
    assert talk.publish(eds={"a": "3"}) == []
    assert talk.ask("eds", "a", nonce="1") == ["2 eds a@3"]


def test_a_stale_nonce_counts_for_names_only() -> None:
    """What crossed a response is no answer to it, but says what is wanted."""
    talk = sotw()
    talk.publish(eds={"a": "1", "b": "1"})
    talk.ask("eds", "a")
    talk.ask("eds", "a", nonce="1")
    assert talk.publish(eds={"a": "2", "b": "1"}) == ["2 eds a@2"]
    assert talk.ask("eds", "a", "b", nonce="1", error="a: late") == []
    assert talk.ask("eds", "a", "b", nonce="2") == ["3 eds b@1"]
    assert not talk.session.status()[TYPES["eds"]].rejected


def test_naming_nothing_means_everything_only_until_something_was_named() -> None:
    """Then it means nothing."""
    talk = sotw()
    talk.publish(cds={"a": "1"})
    assert talk.ask("cds") == ["1 cds a@1"]
    assert talk.ask("cds", nonce="1") == []
    assert talk.ask("cds", "a", nonce="1") == [], "it has that"
    assert talk.publish(cds={"a": "2"}) == ["2 cds a@2"]
    assert talk.ask("cds", nonce="2") == []
    assert talk.publish(cds={"a": "3"}) == []


def test_endpoints_without_names_are_no_wildcard() -> None:
    """Not at first, and not after the last cluster has gone, when Envoy sends no nonce either."""
    talk = sotw()
    talk.publish(eds={"a": "1"})
    assert talk.ask("eds") == []
    assert talk.ask("eds", "a") == ["1 eds a@1"]
    assert talk.ask("eds", nonce="1") == []
    assert talk.ask("eds") == []
    assert talk.publish(eds={"a": "2"}) == []
    assert talk.ask("eds", "a") == ["2 eds a@2"], "asked for again, it is sent again"


def test_a_repeated_request_is_answered_while_its_cluster_warms() -> None:
    """It is no ACK: a changed cluster waits for endpoints that the client has already."""
    talk = sotw()
    talk.publish(cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.ask("eds", "a", "b")
    talk.ask("cds", nonce="1")
    talk.ask("eds", "a", "b", nonce="2")
    assert talk.ask("eds", "a", "b", nonce="2") == [], "nothing warms"
    assert talk.publish(cds={"a": "2", "b": "1"}, eds={"a": "1", "b": "1"}) == ["3 cds a@2 b@1", "4 eds a@1"]
    assert talk.ask("eds", "a", "b", nonce="2") == [], "stale: the answer is under way"
    assert talk.ask("eds", "a", "b", nonce="4") == []
    assert talk.ask("eds", "a", "b", nonce="4") == ["5 eds a@1"]
    talk.ask("eds", "a", "b", nonce="5")
    talk.ask("cds", nonce="3")
    assert talk.ask("eds", "a", "b", nonce="5") == [], "it has dropped the old cluster"


def test_a_stream_about_endpoints_alone_answers_each_repetition() -> None:
    """It cannot know what warms."""
    talk = Talk(Session(variant="sotw", aggregated=False))
    talk.publish(eds={"a": "1"})
    assert talk.ask("eds", "a") == ["1 eds a@1"]
    assert talk.ask("eds", "a", nonce="1") == []
    assert talk.ask("eds", "a", nonce="1") == ["2 eds a@1"]


def test_the_version_is_a_hash_of_what_the_client_then_has() -> None:
    """The order does not matter; a new control plane with the same content believes it."""
    talk = sotw()
    talk.publish(cds={"a": "1", "b": "1"}, eds={"b": "1", "a": "1"})
    assert talk.ask("cds", version=version(b="1", a="1")) == []
    assert talk.ask("eds", "b", "a", version=version(a="1", b="1")) == []
    assert (talk.acked("cds"), talk.acked("eds")) == (1, 1)
    assert talk.publish(cds={"a": "1", "b": "1"}, eds={"a": "2", "b": "1"}) == ["1 eds a@2"]


def test_an_unknown_version_gets_the_full_state() -> None:
    """What the client has is not known: also that there is nothing must be said."""
    talk = sotw()
    talk.publish(cds={})
    assert not talk.session.runs(TYPES["cds"], "old", None)
    assert talk.ask("cds", version="of another day") == ["1 cds"]
    assert not talk.session.runs(TYPES["cds"], "old", None)
    talk.ask("cds", nonce="1")
    assert talk.session.runs(TYPES["cds"], "old", None)


def test_a_version_of_the_stream_before_is_remembered() -> None:
    """Of partial types only the difference is sent; a response without an answer may have been taken."""
    talk = sotw()
    talk.publish(eds={"a": "1", "b": "1"})
    talk.ask("eds", "a", "b")
    talk.ask("eds", "a", "b", nonce="1")
    talk.publish(eds={"a": "2", "b": "1"})
    for stated, sent in ((version(a="1", b="1"), ["1 eds a@2"]), (version(a="2", b="1"), [])):
        again = Talk(Session(talk.session.past(), "sotw", aggregated=False))
        again.publish(eds={"a": "2", "b": "1"})
        assert again.ask("eds", "a", "b", version=stated) == sent


def test_the_last_good_version_stands_for_what_was_refused() -> None:
    """The full state holds it; what is new and bad is left out; the good part is affirmed."""
    talk = sotw()
    talk.publish(cds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.ask("cds", nonce="1")
    assert talk.publish(cds={"a": "2", "b": "bad", "c": "1"}) == ["2 cds a@2 b@bad c@1"]
    assert talk.nack("cds", "2", REFUSED) == ["3 cds a@2 b@1 c@1"]
    assert talk.ask("cds", nonce="3") == []
    status = talk.session.status()[TYPES["cds"]]
    assert status.acked == {"a": "2", "b": "1", "c": "1"}
    assert status.rejected == {"b": Rejection("bad", REFUSED)}
    assert talk.publish(cds={"a": "2", "b": "1", "c": "1"}) == []
    assert talk.acked("cds") == 3, "it has gone back to what the client runs"


def test_what_names_nothing_is_narrowed_down_one_by_one() -> None:
    """Beside what was accepted before: nothing good is taken away meanwhile."""
    talk = sotw()
    talk.publish(cds={"a": "1", "b": "1"})
    talk.ask("cds")
    talk.ask("cds", nonce="1")
    talk.publish(cds={"a": "2", "b": "bad"})
    assert talk.nack("cds", "2", "Proto constraint validation failed") == ["3 cds a@2 b@1"]
    assert talk.ask("cds", nonce="3") == ["4 cds a@2 b@bad"]
    assert talk.nack("cds", "4", "Proto constraint validation failed") == ["5 cds a@2 b@1"]
    assert talk.ask("cds", nonce="5") == []
    assert talk.session.status()[TYPES["cds"]].acked == {"a": "2", "b": "1"}


@pytest.mark.parametrize("stated", [True, False])
def test_the_quarantine_outlives_the_stream_unless_the_client_does_not(stated: bool) -> None:
    """A client that states nothing was restarted: it has another chance."""
    talk = sotw()
    talk.publish(cds={"a": "1"})
    talk.ask("cds")
    talk.ask("cds", nonce="1")
    talk.publish(cds={"a": "1", "b": "bad"})
    assert talk.nack("cds", "2", REFUSED) == [], "there is nothing to affirm"
    again = sotw(talk.session.past())
    again.publish(cds={"a": "1", "b": "bad"})
    sent = again.ask("cds", version=version(a="1") if stated else "")
    assert sent == ([] if stated else ["1 cds a@1 b@bad"])


def test_a_new_control_plane_takes_endpoints_before_clusters_for_warming() -> None:
    """Envoy withholds its request for clusters, too, until they have the endpoints that it states."""
    talk = sotw()
    talk.publish(cds={"a": "2"}, eds={"a": "1"})
    assert talk.ask("eds", "a", version=version(a="1")) == ["1 eds a@1"]
    assert talk.ask("cds", version=version(a="2")) == []


def test_removal_waits_for_what_replaces_it() -> None:
    """Make before break: until then the full state repeats what will go."""
    talk = sotw()
    talk.publish(cds={"old": "1"}, rds={"r": "old"})
    talk.ask("cds")
    talk.ask("rds", "r")
    talk.ask("cds", nonce="1")
    talk.ask("rds", "r", nonce="2")
    assert talk.publish(cds={"new": "1"}, rds={"r": "new"}) == ["3 cds new@1 old@1", "4 rds r@new"]
    assert talk.ask("cds", nonce="3") == []
    assert talk.ask("rds", "r", nonce="4") == ["5 cds new@1"]


def test_what_was_under_way_and_then_went_bad_is_gone_back_to() -> None:
    """The stream broke while a cluster warmed: the client states it, and the server knows it still."""
    talk = sotw()
    talk.publish(cds={"a": "1"})
    talk.ask("cds")
    again = sotw(talk.session.past())
    again.publish(cds={"a": "1", "b": "1"})
    again.publish(cds={"a": "bad", "b": "1"})
    assert again.ask("cds", version=version(a="1")) == ["1 cds a@bad b@1"]
    refusal = "Error adding/updating cluster(s) a: no such thing"
    assert again.ask("cds", nonce="1", error=refusal, version=version(a="1")) == ["2 cds a@1 b@1"]
