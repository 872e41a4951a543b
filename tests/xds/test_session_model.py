"""The pure core against models of Envoy's clients, in random interleavings."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from control_plane.xds.session import Request, Response, Session
from tests.xds.model_envoy import BAD, CDS, EDS, LDS, DeltaEnvoy, Envoy, SotwEnvoy, Versions
from tests.xds.pure import NOW, snapshot

NAMES = ("a", "b", "c")
FULL_STATE = {CDS, LDS}  # in SotW
Key = tuple[str, str]  # type, name


class Conversation:
    """Changes, deliveries and reconnects in any order."""

    def __init__(self, envoy: Envoy) -> None:
        self.envoy = envoy
        self.session = Session(variant=envoy.variant)
        self.wire: deque[Response] = deque()
        self.published: dict[str, Versions] = {}
        self.revision = 0
        self.now = NOW
        # What the stream has said of each name, or was told of it, to see that no response repeats it.
        self.said: dict[Key, str] = {}
        self.asked: dict[str, tuple[str, ...]] = {}  # by type, the names of the last request (SotW)
        self.says: dict[str, dict[Key, str]] = {}  # by nonce, what a response says
        self.allowed: set[Key] = set()  # may be said once more
        self.refused: set[tuple[str, str, str]] = set()
        self.trials = Counter[str]()  # by type, responses that may be needed to find out what was refused
        self.clusters_in_flight: dict[str, set[str]] = {}  # by nonce
        self.doubts: dict[str, dict[str, str]] = {}  # what a statement is not believed of
        self.fresh = False  # whether the control plane is a new one
        self.states = False  # whether the client has stated anything on the stream
        self.envoy.connect()

    # --- what may happen --------------------------------------------------------------------
    def publish(self, clusters: Versions, endpoints: list[str], listeners: Versions) -> None:
        """Change the snapshot: every cluster has its endpoints."""
        by_name = dict(zip(NAMES, endpoints, strict=True))
        assigned = {name: by_name[name] for name in clusters}
        self.published = {CDS: clusters, EDS: assigned, LDS: listeners}
        self.revision += 1
        self.refused = {
            each for each in self.refused if self.published.get(each[0], {}).get(each[1]) == each[2]
        }
        self.update()
        self.send()

    def server_reads(self) -> None:
        """Deliver the client's next request or answer, if there is one."""
        if not self.envoy.answers:
            return
        request = self.envoy.answers.popleft()
        self.note_interest(request)
        settled = self.session.receive(request, self.now)
        self.clusters_in_flight.pop(request.nonce, None)
        if settled is not None and settled.error is not None:
            self.note_refusal(request, settled.refused)
        self.send()

    def client_reads(self) -> None:
        """Deliver the server's next response, if there is one."""
        if self.wire:
            self.envoy.take(self.wire.popleft())

    def late_answer(self, error: str | None) -> None:
        """Have an answer come to what nobody knows any more: it neither accepts nor refuses."""
        self.send()
        for type_url in (CDS, EDS, LDS):
            if not self.session.asked(type_url) or (self.envoy.variant == "sotw" and self.envoy.answers):
                continue
            assert self.session.receive(self.envoy.stale(type_url, error), self.now) is None
            assert self.session.responses(self.now) == []

    def ask_again(self) -> None:
        """Have the client ask for its clusters' endpoints once more."""
        names = tuple(sorted(self.envoy.runs[CDS]))
        if self.envoy.variant == "delta" and names and self.session.asked(EDS):
            self.envoy.answers.append(Request(EDS, names))

    def reconnect(self, *, fresh: bool = False, restarted: bool = False) -> None:
        """Cut the stream; what was on its way either way is lost.

        Args:
            fresh: To another control plane, which has the same snapshot and knows nothing.
            restarted: By a client that begins a new life.
        """
        past = {} if fresh else self.session.past()
        if restarted:
            self.envoy.restart()
        if fresh:
            self.envoy.be_honest()
        self.doubts = {type_url: dict(each.unsettled) for type_url, each in past.items()}
        self.session = Session(past, self.envoy.variant)
        self.wire.clear()
        for memory in (self.said, self.asked, self.says, self.allowed, self.clusters_in_flight, self.trials):
            memory.clear()
        if fresh or restarted:
            self.refused.clear()
        self.fresh, self.states = fresh, False
        if self.published:
            self.update()
        self.envoy.connect()

    def update(self) -> None:
        """Tell the session what is published."""
        clusters, endpoints, listeners = (self.published[each] for each in (CDS, EDS, LDS))
        self.session.update(snapshot(cds=clusters, eds=endpoints, lds=listeners), self.revision, self.now)

    # --- what must hold ---------------------------------------------------------------------
    def note_interest(self, request: Request) -> None:
        """Note what the request asks for anew, and what the client states to have."""
        type_url = request.type_url
        first = not self.session.asked(type_url)
        if self.envoy.variant == "sotw":
            names, before = set(request.subscribe), set(self.asked.get(type_url, ()))
            self.asked[type_url] = request.subscribe
            changed = names ^ before
            if type_url == EDS and not changed:  # repeated: for what warms it is no ACK
                waits = {name for names in self.clusters_in_flight.values() for name in names}
                self.allowed |= {(EDS, name) for name in names & waits}
        else:
            changed = {*request.subscribe, *request.unsubscribe}
        for name in changed:
            self.said.pop((type_url, name), None)
        if first and type_url == EDS and not self.session.asked(CDS):  # its clusters warm
            self.allowed |= {(EDS, name) for name in request.subscribe}
        self.states = self.states or request.states
        if first and not self.states:  # a client that states nothing was restarted: another chance
            self.refused = {each for each in self.refused if each[0] != type_url}
        if first and self.knows(request):
            doubts = self.doubts.get(type_url, {})
            self.said.update(dict.fromkeys(((type_url, name) for name in doubts), "not known"))
            for name, version in self.envoy.has(type_url).items():
                if doubts.get(name, version) == version:
                    self.said[type_url, name] = version

    def knows(self, request: Request) -> bool:
        """Whether the server knows what a statement means: in SotW a new one only if nothing changed."""
        has = self.envoy.has(request.type_url)
        if self.envoy.variant == "sotw" and self.fresh:
            wanted = set(has) if request.type_url == EDS else NAMES
            published = self.published.get(request.type_url, {})
            return has == {name: published[name] for name in wanted if name in published}
        return True

    def note_refusal(self, request: Request, refused: tuple[str, ...]) -> None:
        """Note what is refused; the rest may be said once more, to affirm it or to find the bad one."""
        says = self.says.get(request.nonce, {})
        if request.error == "refused" or self.fresh:
            self.trials[request.type_url] += len(says)
        rejected = self.session.status()[request.type_url].rejected
        for (type_url, name), version in says.items():
            if len(says) > 1 or name not in refused or request.error == "refused":
                self.said.pop((type_url, name), None)
            newest = self.published[type_url].get(name, "")
            if name in rejected and rejected[name].version == version == newest:
                self.refused.add((type_url, name, version))

    def send(self) -> None:
        """Put what the server sends on the wire; nothing of it repeats what was said."""
        for response in self.session.responses(self.now):
            put = {each.name: each.version for each in response.put}
            assert len(put) == len(response.put), "a name twice"
            full = self.envoy.variant == "sotw" and response.type_url in FULL_STATE
            says = {(response.type_url, name): version for name, version in put.items()}
            says.update(dict.fromkeys(((response.type_url, name) for name in response.removed), ""))
            if full:
                gone = {key for key in self.said if key[0] == response.type_url} - says.keys()
                says.update(dict.fromkeys(gone, ""))
            news = {key: version for key, version in says.items() if self.is_news(key, version)}
            first = not any(key[0] == response.type_url for key in self.said)
            if not news and not first:
                self.trials[response.type_url] -= 1
                assert self.trials[response.type_url] >= 0, f"{response} says nothing new"
            assert full or len(news) == len(says), f"{response} says again what is known"
            for (type_url, name), version in says.items():
                assert (type_url, name, version) not in self.refused, f"{name}@{version} was refused"
            self.allowed -= says.keys()
            self.said.update(says)
            self.says[response.nonce] = says
            if response.type_url == CDS:
                self.clusters_in_flight[response.nonce] = set(put)
                self.allowed |= {(EDS, name) for _, name in news if news[CDS, name]}
            self.wire.append(response)

    def is_news(self, key: Key, version: str) -> bool:
        """Whether to say that is not to repeat something."""
        return key in self.allowed or self.said.get(key, "?") != version

    def what_is_known_is_true(self) -> None:
        """What counts as running does run, what counts as gone is gone."""
        for type_url, status in self.session.status().items():
            runs = self.envoy.runs[type_url]
            if (
                self.published
                and status.acked_revision == self.revision
                and not self.envoy.answers
                and not self.wire
            ):
                published = self.published[type_url]
                if type_url == EDS:  # what it has dropped since, or in SotW cannot be told to drop, apart
                    published = {
                        name: each for name, each in published.items() if name in self.envoy.runs[CDS]
                    }
                    assert published.items() <= runs.items(), type_url
                else:
                    assert runs == published, type_url
            for name in NAMES:
                assert not (self.session.runs(type_url, name, None) and name in runs), f"{name} is not gone"

    def come_to_rest(self) -> None:
        """Deliver everything: the client ends with the newest state that it does not refuse."""
        if not self.published:
            return
        steps = 0
        while self.envoy.answers or self.wire or self.times_out():
            steps += 1
            assert steps < 1000, "they never come to rest"
            while self.wire:
                self.client_reads()
            self.server_reads()
            self.what_is_known_is_true()
        for type_url, published in self.published.items():
            runs = self.envoy.runs[type_url]
            wanted = set(published) if type_url != EDS else set(published) & set(self.envoy.runs[CDS])
            good = {name: published[name] for name in wanted if not published[name].startswith(BAD)}
            assert {name: runs.get(name) for name in good} == good, type_url
            assert runs.keys() <= published.keys(), type_url
            if good == published and all(self.good(each) for each in self.published):
                assert self.session.acked_revision(type_url) == self.revision or type_url == EDS, type_url

    def times_out(self) -> bool:
        """Have the client give up waiting for endpoints; only for what cannot come."""
        for name in self.envoy.cold:
            endpoints = self.published[EDS].get(name)
            gone = endpoints is None and self.envoy.variant == "delta"  # it was told so
            assert gone or (endpoints or BAD).startswith(BAD), f"{name} waits for its endpoints"
        return self.envoy.give_up()

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
DELIVERIES = st.sampled_from(["server reads", "client reads"])
RARE = st.sampled_from(
    ["reconnect", "restart", "another server", "late ACK", "late NACK", "ask again", "server reads"]
)
STEPS = st.one_of(PUBLISHES, DELIVERIES, DELIVERIES, DELIVERIES, RARE)
Step = Publish | str


# What came in a response that was refused for others runs without being stated; the version before it is
# stated, and is what was sent last.
STATED_BUT_NOT_RUN: list[Step] = [
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
REFUSED_AND_CUT: list[Step] = [
    Publish({"a": "1", "b": "bad1"}, ["1", "1", "1"], {}),
    "server reads",
    "server reads",
    "client reads",
    "server reads",
    Publish({}, ["1", "1", "1"], {}),
    "server reads",
    "reconnect",
]


def do(conversation: Conversation, step: Step) -> None:
    """Take one step."""
    if isinstance(step, Publish):
        conversation.publish(step.clusters, step.endpoints, step.listeners)
        return
    {
        "server reads": conversation.server_reads,
        "client reads": conversation.client_reads,
        "reconnect": conversation.reconnect,
        "restart": lambda: conversation.reconnect(restarted=True),
        "another server": lambda: conversation.reconnect(fresh=True),
        "late ACK": lambda: conversation.late_answer(None),
        "late NACK": lambda: conversation.late_answer("a: refused, b: refused"),
        "ask again": conversation.ask_again,
    }[step]()


@pytest.mark.parametrize("client", [DeltaEnvoy, SotwEnvoy], ids=["delta", "sotw"])
@settings(max_examples=1000, deadline=None)
@example(steps=REFUSED_AND_CUT, nacks="nothing")
@example(steps=STATED_BUT_NOT_RUN, nacks="names")
@given(steps=st.lists(STEPS, max_size=40), nacks=st.sampled_from(["names", "nothing", "whole"]))
def test_the_client_ends_with_the_newest_state(client: type[Envoy], steps: list[Step], nacks: str) -> None:
    """Whatever the order: nothing is said twice, and in the end the client runs what it does not refuse."""
    note(f"{nacks}: {steps}")
    conversation = Conversation(client(nacks))
    for step in steps:
        do(conversation, step)
        conversation.what_is_known_is_true()
    conversation.come_to_rest()
