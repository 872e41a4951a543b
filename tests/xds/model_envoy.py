"""Models of Envoy's two xDS clients, for random interleavings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from control_plane.xds.messages import Variant
from control_plane.xds.session import Request, Response
from tests.xds.pure import TYPES

CDS, EDS, LDS = TYPES["cds"], TYPES["eds"], TYPES["lds"]
BAD = "bad"  # versions that begin so are refused

Versions = dict[str, str]


class Envoy(ABC):
    """What both variants have in common.

    It applies the good part of what it refuses, asks for the endpoints of its
    clusters, and withholds its answer to a cluster until its endpoints came.
    Its answers lie in `answers` until they are delivered.

    Attributes:
        runs: By type, what is in force.
        cold: Clusters that wait for their endpoints.
        nacks: What it says of what it refuses: its "names", or "nothing"; or it
            takes nothing of it: "whole".
    """

    variant: Variant

    def __init__(self, nacks: str) -> None:
        self.nacks = nacks
        self.runs: dict[str, Versions] = {CDS: {}, EDS: {}, LDS: {}}
        self.cold: set[str] = set()
        self.answers: deque[Request] = deque()
        self._withheld: list[Request] = []

    def connect(self) -> None:
        """Open a stream: what was on its way is lost."""
        self.answers.clear()
        self._withheld.clear()
        self.begin()

    def ask_for_clusters(self, request: Request) -> None:
        """Send the first request for clusters, once none is cold."""
        (self._withheld if self.cold else self.answers).append(request)

    def restart(self) -> None:
        """Begin a new life, with nothing."""
        self.runs = {CDS: {}, EDS: {}, LDS: {}}
        self.cold.clear()

    def take(self, response: Response) -> None:
        """Apply a response and answer it."""
        bad = sorted(each.name for each in response.put if each.version.startswith(BAD))
        before = dict(self.runs[CDS])
        if not (bad and self.nacks == "whole"):
            self._apply(response, {each.name: each.version for each in response.put if each.name not in bad})
        answer = self.answer(response, self._error(bad))
        if response.type_url != CDS:
            self.answers.append(answer)
        else:
            self._withheld.append(answer)
            self.follow(before, self.runs[CDS])
        self.warm_up()

    def warm_up(self) -> None:
        """Send what was withheld, once no cluster is cold."""
        if not self.cold:
            self.answers.extend(self._withheld)
            self._withheld.clear()

    def give_up(self) -> bool:
        """Do as when the initial fetch times out; return whether it was waited for."""
        waited = bool(self._withheld)
        self.cold.clear()
        self.warm_up()
        return waited

    def _apply(self, response: Response, good: Versions) -> None:
        runs = self.runs[response.type_url]
        if response.type_url == EDS:  # what it no longer wants is ignored
            good = {name: version for name, version in good.items() if name in self.runs[CDS]}
            self.cold -= good.keys()
        changed = {name for name, version in good.items() if runs.get(name) != version}
        runs.update(good)
        for name in self.removed(response):
            runs.pop(name, None)
        if response.type_url == CDS:
            self.cold = (self.cold | changed) & runs.keys()
            for name in self.runs[EDS].keys() - runs.keys():
                del self.runs[EDS][name]

    def _error(self, bad: list[str]) -> str | None:
        if not bad:
            return None
        named = "Error adding/updating " + ", ".join(f"{name}: refused" for name in bad)
        return named if self.nacks == "names" else "refused"

    @abstractmethod
    def begin(self) -> None:
        """Send the first requests of a stream."""

    @abstractmethod
    def removed(self, response: Response) -> set[str]:
        """Return the names that a response removes."""

    @abstractmethod
    def answer(self, response: Response, error: str | None) -> Request:
        """Return the answer to a response, and note what is stated from now on."""

    @abstractmethod
    def follow(self, before: Versions, after: Versions) -> None:
        """Ask for the endpoints of changed clusters."""

    @abstractmethod
    def be_honest(self) -> None:
        """State what is in force, not merely what was accepted as a whole."""

    @abstractmethod
    def stale(self, type_url: str, error: str | None) -> Request:
        """Return a late answer, to a response that nobody knows any more."""

    @abstractmethod
    def has(self, type_url: str) -> Versions:
        """Return what it states to have."""


class DeltaEnvoy(Envoy):
    """States the version of each resource."""

    variant = "delta"

    def __init__(self, nacks: str) -> None:
        super().__init__(nacks)
        self._states: dict[str, Versions] = {CDS: {}, EDS: {}, LDS: {}}

    def restart(self) -> None:
        """Begin a new life, with nothing."""
        super().restart()
        self.be_honest()

    def begin(self) -> None:
        """Send the first requests of a stream."""
        clusters = tuple(sorted(self.runs[CDS]))
        self.ask_for_clusters(Request(CDS, ("*",), has=self.has(CDS)))
        if clusters:
            self.answers.append(Request(EDS, clusters, has=self.has(EDS)))
        self.answers.append(Request(LDS, has=self.has(LDS)))

    def removed(self, response: Response) -> set[str]:
        """Return the names that a response removes."""
        return set(response.removed)

    def answer(self, response: Response, error: str | None) -> Request:
        """Return the answer to a response; of a refused one nothing is stated."""
        type_url = response.type_url
        if error is None:
            for name in {*response.removed, *(each.name for each in response.put)}:
                if name in self.runs[type_url]:
                    self._states[type_url][name] = self.runs[type_url][name]
                else:
                    self._states[type_url].pop(name, None)
        return Request(type_url, nonce=response.nonce, error=error)

    def follow(self, before: Versions, after: Versions) -> None:
        """Ask for the endpoints of new clusters, drop those of removed ones; no word of changed ones."""
        new, gone = tuple(sorted(after.keys() - before)), tuple(sorted(before.keys() - after))
        for name in gone:
            self._states[EDS].pop(name, None)
        if new or gone:
            self.answers.append(Request(EDS, new, gone))

    def be_honest(self) -> None:
        """State what is in force."""
        self._states = {type_url: dict(runs) for type_url, runs in self.runs.items()}

    def stale(self, type_url: str, error: str | None) -> Request:
        """Return a late answer."""
        return Request(type_url, nonce="of-another-stream", error=error)

    def has(self, type_url: str) -> Versions:
        """Return initial_resource_versions."""
        return dict(self._states[type_url])


class SotwEnvoy(Envoy):
    """States the version of the last response that it accepted, and repeats what it wants."""

    variant = "sotw"

    def __init__(self, nacks: str) -> None:
        super().__init__(nacks)
        self._version: dict[str, str] = {}
        self._nonce: dict[str, str] = {}
        self._accepted: dict[str, Versions] = {}

    def restart(self) -> None:
        """Begin a new life, with nothing."""
        super().restart()
        self._version, self._accepted = {}, {}

    def begin(self) -> None:
        """Send the first requests of a stream."""
        self._nonce.clear()
        self.ask_for_clusters(self._request(CDS))
        if self.runs[CDS]:
            self.answers.append(self._request(EDS))
        self.answers.append(self._request(LDS))

    def removed(self, response: Response) -> set[str]:
        """Return the names that a response removes: where it is the full state, what it leaves out."""
        put = {each.name for each in response.put}
        return set() if response.type_url == EDS else self.runs[response.type_url].keys() - put

    def answer(self, response: Response, error: str | None) -> Request:
        """Return the answer to a response."""
        type_url = response.type_url
        self._nonce[type_url] = response.nonce
        if error is None:
            self._version[type_url] = response.version
            self._accepted[type_url] = dict(self.runs[type_url])
        return self._request(type_url, error)

    def follow(self, before: Versions, after: Versions) -> None:
        """Repeat what is wanted: also when no name is new, because a changed cluster waits."""
        if before != after:
            self.answers.append(self._request(EDS))

    def be_honest(self) -> None:
        """State nothing known where a mixture is in force."""
        for type_url, runs in self.runs.items():
            if self._accepted.get(type_url, {}) != runs:
                self._version[type_url] = "a mixture"

    def stale(self, type_url: str, error: str | None) -> Request:
        """Return a late answer; its names count."""
        request = self._request(type_url, error)
        return Request(type_url, request.subscribe, nonce="of-another-stream", error=error)

    def has(self, type_url: str) -> Versions:
        """Return what was in force when the version was accepted that it states."""
        accepted = self._accepted.get(type_url, {}) if self._version.get(type_url) != "a mixture" else {}
        return {name: each for name, each in accepted.items() if type_url != EDS or name in self.runs[CDS]}

    def _request(self, type_url: str, error: str | None = None) -> Request:
        names = tuple(sorted(self.runs[CDS])) if type_url == EDS else ()
        version, nonce = self._version.get(type_url, ""), self._nonce.get(type_url, "")
        return Request(type_url, names, nonce=nonce, error=error, version=version)
