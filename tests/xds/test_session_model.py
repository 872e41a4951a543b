"""The pure core against a model of Envoy's Delta client, in random interleavings."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from control_plane.xds.session import Request, Response, Session
from tests.xds.pure import NOW, TYPES, snapshot

CDS, EDS, LDS = TYPES["cds"], TYPES["eds"], TYPES["lds"]
NAMES = ("a", "b", "c")
BAD = "bad"  # versions that begin so are refused

Versions = dict[str, str]


@dataclass
class Envoy:
    """A Delta client as Envoy is one.

    It applies the good part of what it refuses, states only what it accepted
    as a whole, and asks for the endpoints of its clusters. Its answers lie in
    `answers` until they are delivered.
    """

    runs: dict[str, Versions] = field(default_factory=lambda: {CDS: {}, EDS: {}, LDS: {}})
    states: dict[str, Versions] = field(default_factory=lambda: {CDS: {}, EDS: {}, LDS: {}})
    answers: deque[Request] = field(default_factory=deque)
    nacks: str = "names"  # or says "nothing", or takes nothing of what it refuses: "whole"

    def connect(self) -> None:
        """Open a stream: what was on its way is lost."""
        self.answers.clear()
        clusters = tuple(sorted(self.runs[CDS]))
        self.answers.append(Request(CDS, ("*",), has=dict(self.states[CDS])))
        if clusters:
            self.answers.append(Request(EDS, clusters, has=dict(self.states[EDS])))
        self.answers.append(Request(LDS, has=dict(self.states[LDS])))

    def take(self, response: Response) -> None:
        """Apply a response and answer it."""
        bad = [each.name for each in response.put if each.version.startswith(BAD)]
        good = {each.name: each.version for each in response.put if each.name not in bad}
        before = set(self.runs[CDS])
        if response.type_url == EDS:  # what it no longer wants is ignored
            good = {name: version for name, version in good.items() if name in before}
        runs, states = self.runs[response.type_url], self.states[response.type_url]
        if not (bad and self.nacks == "whole"):
            runs.update(good)
            for name in response.removed:
                runs.pop(name, None)
        error = None
        if bad:
            reasons = ", ".join(f"{name}: refused" for name in bad)
            error = f"Error adding/updating {reasons}" if self.nacks == "names" else "refused"
        else:
            states.update(good)
            for name in response.removed:
                states.pop(name, None)
        if response.type_url == CDS:
            self._follow(before, set(self.runs[CDS]))
        self.answers.append(Request(response.type_url, nonce=response.nonce, error=error))

    def _follow(self, before: set[str], after: set[str]) -> None:
        """Ask for the endpoints of new clusters, drop those of removed ones."""
        new, gone = tuple(sorted(after - before)), tuple(sorted(before - after))
        for name in gone:
            self.runs[EDS].pop(name, None)
            self.states[EDS].pop(name, None)
        if new or gone:
            self.answers.append(Request(EDS, new, gone))


class Conversation:
    """Changes, deliveries and reconnects in any order."""

    def __init__(self, nacks: str) -> None:
        self.session = Session()
        self.envoy = Envoy(nacks=nacks)
        self.wire: deque[Response] = deque()
        self.published: dict[str, Versions] = {}
        self.revision = 0
        # What the stream has said of each (type, name), to see that no response repeats it.
        self.said: dict[tuple[str, str], str] = {}
        self.names_in: dict[str, list[tuple[str, str]]] = {}  # by nonce, of responses with several
        self.asked_again: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str, str]] = set()
        self.in_doubt: dict[str, Mapping[str, str]] = {}  # what a statement is not believed of
        self.envoy.connect()

    def publish(self, clusters: Versions, endpoints: list[str], listeners: Versions) -> None:
        """Change the snapshot: every cluster has its endpoints."""
        by_name = dict(zip(NAMES, endpoints, strict=True))
        assigned = {name: by_name[name] for name in clusters}
        self.published = {CDS: clusters, EDS: assigned, LDS: listeners}
        self.revision += 1
        self.session.update(snapshot(cds=clusters, eds=assigned, lds=listeners), self.revision, NOW)
        self.send()

    def server_reads(self) -> None:
        """Deliver the client's next request or answer, if there is one."""
        if not self.envoy.answers:
            return
        request = self.envoy.answers.popleft()
        for name in request.subscribe:
            self.said.pop((request.type_url, name), None)
        for name in request.unsubscribe:
            self.said.pop((request.type_url, name), None)
        for name, version in request.has.items():
            if self.in_doubt.get(request.type_url, {}).get(name, version) == version:
                self.said[request.type_url, name] = version
        self.session.receive(request, NOW)
        if request.error is not None:  # each may be said once more: to affirm it, or to find the bad one
            for key in self.names_in.get(request.nonce, ()):
                self.said.pop(key, None)
        if request.error is not None:
            self.refused |= {
                (request.type_url, name, rejection.version)
                for name, rejection in self.session.status()[request.type_url].rejected.items()
            }
        self.send()

    def client_reads(self) -> None:
        """Deliver the server's next response, if there is one."""
        if self.wire:
            self.envoy.take(self.wire.popleft())

    def reconnect(self) -> None:
        """Cut the stream; what was on its way either way is lost."""
        past = self.session.past()
        self.in_doubt = {type_url: each.unsettled for type_url, each in past.items()}
        self.session = Session(past)
        self.wire.clear()
        self.said.clear()
        self.names_in.clear()
        self.asked_again.clear()
        self.refused.clear()
        if self.published:
            clusters, endpoints, listeners = (self.published[each] for each in (CDS, EDS, LDS))
            self.session.update(snapshot(cds=clusters, eds=endpoints, lds=listeners), self.revision, NOW)
        self.envoy.connect()

    def send(self) -> None:
        """Put what the server sends on the wire; nothing of it repeats what was said."""
        for response in self.session.responses(NOW):
            for each in response.put:
                self.check_news(response.type_url, each.name, each.version)
            for name in response.removed:
                self.check_news(response.type_url, name, "")
            self.wire.append(response)
            names = [*(each.name for each in response.put), *response.removed]
            if len(names) > 1:
                self.names_in[response.nonce] = [(response.type_url, name) for name in names]

    def check_news(self, type_url: str, name: str, version: str) -> None:
        """No response says again what the stream has said, and none repeats a refused version."""
        assert (type_url, name, version) not in self.refused or version != self.said.get((type_url, name))
        if (type_url, name) not in self.asked_again:
            assert self.said.get((type_url, name)) != version, "said before, and nobody asked"
        self.asked_again.discard((type_url, name))
        self.said[type_url, name] = version
        if type_url == CDS:
            self.asked_again.add((EDS, name))

    def acknowledged_is_true(self) -> None:
        """What counts as running does run, or was replaced by what is on its way."""
        for type_url, status in self.session.status().items():
            if status.acked_revision == self.revision and self.published and not self.envoy.answers:
                assert self.envoy.runs[type_url] == self.published[type_url], type_url

    def come_to_rest(self) -> None:
        """Deliver everything: the client ends with the newest state that it does not refuse."""
        if not self.published:
            return
        steps = 0
        while self.envoy.answers or self.wire:
            steps += 1
            assert steps < 1000, "they never come to rest"
            while self.wire:
                self.client_reads()
            if self.envoy.answers:
                self.server_reads()
        for type_url, published in self.published.items():
            runs = self.envoy.runs[type_url]
            wanted = set(published) if type_url != EDS else set(published) & set(self.envoy.runs[CDS])
            good = {name: published[name] for name in wanted if not published[name].startswith(BAD)}
            assert {name: runs.get(name) for name in good} == good, type_url
            assert runs.keys() <= published.keys(), type_url
            if good == published and all(self.good(each) for each in self.published):
                assert self.session.acked_revisions().get(type_url, self.revision) == self.revision, type_url

    def good(self, type_url: str) -> bool:
        """Whether nothing published of a type is refused."""
        return not any(version.startswith(BAD) for version in self.published[type_url].values())


@dataclass(frozen=True)
class Publish:
    """A change of the snapshot."""

    clusters: Versions
    endpoints: list[str]
    listeners: Versions


PUBLISHES = st.builds(
    Publish,
    clusters=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", "bad1", "bad2"]), max_size=3),
    endpoints=st.lists(st.sampled_from(["1", "2", "3", "bad1"]), min_size=3, max_size=3),
    listeners=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", "bad1"]), max_size=3),
)
STEPS = st.one_of(
    PUBLISHES, st.sampled_from(["server reads", "client reads", "server reads", "client reads", "reconnect"])
)


# What came in a response that was refused for others runs without being stated; the version before it is
# stated, and is what was sent last.
STATED_BUT_NOT_RUN: list[Publish | str] = [
    Publish({"a": "1"}, ["1", "1", "1"], {}),
    "server reads",
    Publish({"a": "2", "b": "bad1"}, ["1", "1", "1"], {}),
    "client reads",
    Publish({}, ["1", "1", "1"], {}),
    "client reads",
    Publish({"a": "1"}, ["1", "1", "1"], {}),
    "reconnect",
]

# A refusal that names nothing: whether the client runs any of it is not known yet when the stream is cut.
REFUSED_AND_CUT: list[Publish | str] = [
    Publish({"a": "1", "b": "bad1"}, ["1", "1", "1"], {}),
    "server reads",
    "server reads",
    "client reads",
    "server reads",
    Publish({}, ["1", "1", "1"], {}),
    "server reads",
    "reconnect",
]


@settings(max_examples=1000, deadline=None)
@example(steps=REFUSED_AND_CUT, nacks="nothing")
@example(steps=STATED_BUT_NOT_RUN, nacks="names")
@given(steps=st.lists(STEPS, max_size=30), nacks=st.sampled_from(["names", "nothing", "whole"]))
def test_the_client_ends_with_the_newest_state(steps: list[Publish | str], nacks: str) -> None:
    """Whatever the order: nothing is said twice, and in the end the client runs what it does not refuse."""
    conversation = Conversation(nacks)
    for step in steps:
        if isinstance(step, Publish):
            conversation.publish(step.clusters, step.endpoints, step.listeners)
        elif step == "server reads":
            conversation.server_reads()
        elif step == "client reads":
            conversation.client_reads()
        else:
            conversation.reconnect()
        conversation.acknowledged_is_true()
    conversation.come_to_rest()
