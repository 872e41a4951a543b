"""One client's talk with the pure core, step by step, and what must hold at each."""

from __future__ import annotations

from collections import Counter, deque

from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import Node, NodeKey
from control_plane.xds.session import Request, Response, Session
from tests.xds.model_envoy import BAD, CDS, EDS, LDS, Envoy, Versions
from tests.xds.pure import NOW, snapshot
from wire.names import ENVOY_ROLE

NODE = Node(NodeKey(ENVOY_ROLE, "envoy-1"), {})
NAMES = ("a", "b", "c")
FULL_STATE = {CDS, LDS}  # in SotW
Key = tuple[str, str]  # type, name


class Conversation:
    """Changes, deliveries and reconnects in any order."""

    def __init__(self, envoy: Envoy) -> None:
        self.envoy = envoy
        self.cache = SnapshotCache(lambda: NOW)
        self.connection = self.cache.connect(NODE, variant=envoy.variant)
        self.away = False  # whether the client has no stream
        self.wire: deque[Response] = deque()
        self.published: dict[str, Versions] = {}
        self.revision = 0
        # What the stream has said of each name, or was told of it, to see that no response repeats it.
        self.said: dict[Key, str] = {}
        self.asked: dict[str, tuple[str, ...]] = {}  # by type, the names of the last request (SotW)
        self.says: dict[str, dict[Key, str]] = {}  # by nonce, what a response says
        self.allowed: set[Key] = set()  # may be said once more
        self.refused: set[tuple[str, str, str]] = set()
        self.trials = Counter[str]()  # by type, responses that may be needed to find out what was refused
        self.clusters_in_flight: dict[str, set[str]] = {}  # by nonce
        self.doubts: dict[str, dict[str, str]] = {}  # what a statement is not believed of
        self.proven: set[Key] = set()  # of which the control plane knew that the client ran something good
        self.may_warm: set[str] = set()  # clusters of which nothing was heard when the stream broke
        self.fresh = False  # whether the control plane is a new one, to which the client came with something
        self.states = False  # whether the client has stated anything on the stream
        self.envoy.connect()

    @property
    def session(self) -> Session:
        """The stream that is open, or was last."""
        return self.connection.session

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
        self.proven = {(url, name) for url, name in self.proven if name in self.published[url]}
        self.update()
        if not self.away:
            self.send()

    def server_reads(self) -> None:
        """Deliver the client's next request or answer, if there is one."""
        if not self.envoy.answers:
            return
        request = self.envoy.answers.popleft()
        self.note_interest(request)
        settled = self.cache.receive(self.connection, request)
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
            assert self.cache.receive(self.connection, self.envoy.stale(type_url, error)) is None
            assert self.cache.take(self.connection) == []

    def ask_again(self) -> None:
        """Have the client ask for its clusters' endpoints once more."""
        names = tuple(sorted(self.envoy.runs[CDS]))
        if self.envoy.variant == "delta" and names and self.session.asked(EDS):
            self.envoy.answers.append(Request(EDS, names))

    def cut(self) -> None:
        """Break the stream; the client comes back with the next step that is no change."""
        past = self.session.past()
        self.doubts = {type_url: dict(each.unsettled) for type_url, each in past.items()}
        self.may_warm = set(past[CDS].unanswered) if CDS in past else set()
        self.cache.disconnect(self.connection)
        self.away = True

    def reconnect(self, *, fresh: bool = False, restarted: bool = False) -> None:
        """Open a stream anew; what was on its way either way is lost.

        Args:
            fresh: To another control plane, which has the same snapshot and knows nothing.
            restarted: By a client that begins a new life.
        """
        if not self.away:
            self.cut()
        if restarted:
            self.envoy.restart()
        if fresh:
            self.envoy.be_honest()
            self.cache, self.doubts, self.may_warm = SnapshotCache(lambda: NOW), {}, set()
            if self.published:
                self.update()
        self.connection, self.away = self.cache.connect(NODE, variant=self.envoy.variant), False
        self.wire.clear()
        for memory in (self.said, self.asked, self.says, self.allowed, self.clusters_in_flight, self.trials):
            memory.clear()
        if fresh or restarted:
            self.refused.clear()
            self.proven.clear()
        self.fresh, self.states = fresh or (self.fresh and not restarted), False
        self.envoy.connect()

    def update(self) -> None:
        """Tell the session what is published."""
        clusters, endpoints, listeners = (self.published[each] for each in (CDS, EDS, LDS))
        made = snapshot(cds=clusters, eds=endpoints, lds=listeners)
        self.cache.publish(NODE.key, made, self.revision)

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
        if first and type_url == EDS:  # its clusters warm, or may do so
            warm = self.may_warm if self.session.asked(CDS) else request.subscribe
            self.allowed |= {(EDS, name) for name in request.subscribe if name in warm}
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
        for response in self.cache.take(self.connection):
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
            published = self.published.get(type_url, {})
            if not self.wire and not self.envoy.answers:  # else a removal may be under way
                acked = {name for name, version in status.acked.items() if not version.startswith(BAD)}
                self.proven |= {(type_url, name) for name in acked & runs.keys() & published.keys()}
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
        if self.away:
            self.reconnect()
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
            kept = {name for url, name in self.proven if url == type_url and url != EDS}
            assert kept <= runs.keys(), f"{type_url}: the last good version of {kept - runs.keys()} is lost"
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
