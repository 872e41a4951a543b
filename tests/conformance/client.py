"""A client of the ADS server over real gRPC: both variants behind one interface.

It says what the test has it say and remembers what it accepted, as Envoy does.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf import struct_pb2

from tests.conformance.resources import FULL_STATE, MARKER, TYPES
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE

ANSWER_S: Final = 5.0
PER_TYPE: Final = {
    "cds": ("cluster.v3.ClusterDiscoveryService", "Clusters"),
    "eds": ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    "lds": ("listener.v3.ListenerDiscoveryService", "Listeners"),
    "rds": ("route.v3.RouteDiscoveryService", "Routes"),
    "sds": ("secret.v3.SecretDiscoveryService", "Secrets"),
    "ads": ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources"),
}


@dataclass(frozen=True)
class Answer:
    """A response of the server, `{name: version}` of what it puts; both variants alike."""

    alias: str
    nonce: str
    version: str
    put: dict[str, str]
    removed: tuple[str, ...] = ()
    ttl_s: dict[str, float] = field(default_factory=dict)
    bodiless: tuple[str, ...] = ()  # heartbeats: a name and its time to live, no body


def node_of(node_id: str, role: str = ENVOY_ROLE, features: Iterable[str] = ()) -> discovery_pb2.Node:
    """Return what a client says of itself."""
    return discovery_pb2.Node(
        id=node_id, cluster=role, metadata=struct_pb2.Struct(), client_features=list(features)
    )


class Client(ABC):
    """One stream of one client.

    Attributes:
        have: By alias and name, the versions that it accepted: what it runs.
        asked: By alias, the names that it is subscribed to.
    """

    variant: str
    prefix: str  # of its RPCs' names
    request_type: type[Any]
    response_type: type[Any]

    def __init__(
        self,
        port: int,
        node: discovery_pb2.Node,
        service: str = "ads",
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Open a stream of a service; `options` are those of its gRPC channel."""
        self.node = node
        self._options = options
        self.service = service
        self.have: dict[str, dict[str, str]] = {}
        self.asked: dict[str, list[str]] = {}
        self._answered: dict[str, Answer] = {}  # by alias, the last response that was accepted
        self._markers = 0
        self.open(port)

    def open(self, port: int) -> None:
        """Open a stream, a new one if there was one: its first request says who the client is."""
        self._nonces: dict[str, str] = {}
        self._introduced = False
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=self._options)
        service, suffix = PER_TYPE[self.service]
        method: Any = self._channel.stream_stream(
            f"/envoy.service.{service}/{self.prefix}{suffix}",
            request_serializer=self.request_type.SerializeToString,
            response_deserializer=self.response_type.FromString,
        )
        self.call = method()

    async def close(self) -> None:
        """End the stream and its connection."""
        self.call.cancel()
        await self._channel.close(None)

    # --- what it says -----------------------------------------------------------------------
    async def subscribe(self, alias: str, *names: str) -> None:
        """Ask for names of a type; for none in the first request of the type: the legacy wildcard."""
        asked = self.asked.setdefault(alias, [])
        asked += [name for name in names if name not in asked]
        await self._say_interest(alias, subscribe=names)

    async def unsubscribe(self, alias: str, *names: str) -> None:
        """Ask for names no more."""
        self.asked[alias] = [name for name in self.asked[alias] if name not in names]
        await self._say_interest(alias, unsubscribe=names)

    async def ack(self, answer: Answer) -> None:
        """Say that a response is in force."""
        self.accept(answer)
        await self._settle(answer, None)

    async def nack(self, answer: Answer, error: str) -> None:
        """Refuse a response, with an error text."""
        await self._settle(answer, error)

    async def say(self, alias: str, **fields: Any) -> None:
        """Send a request with the fields of the variant's own message."""
        message = self.request_type(type_url=TYPES.get(alias, alias), **fields)
        if not self._introduced:
            message.node.CopyFrom(self.node)
            self._introduced = True
        await self.call.write(message)

    async def resume(self, port: int, *, states: bool = True) -> None:
        """Open a new stream and ask for all that was asked for; with `states`, say what it runs."""
        await self.close()
        self.open(port)
        if not states:
            self.have, self._answered = {}, {}
        for alias in self.asked:
            if alias != MARKER:
                await self.restate(alias)

    # --- what it hears ----------------------------------------------------------------------
    async def next(self) -> Answer:
        """Return the next response."""
        async with asyncio.timeout(ANSWER_S):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, f"the stream ended: {await self.ended()}"  # type: ignore[attr-defined]
        answer = self._answer(message)
        self._nonces[answer.alias] = answer.nonce
        return answer

    async def expect(
        self,
        alias: str,
        put: Mapping[str, str],
        *,
        removed: Iterable[str] = (),
        keeps: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the next response, which must say exactly this of a type.

        Args:
            alias: The type.
            put: What it puts that the client did not have in this version.
            removed: What is not there (any more). SotW says so by leaving it out.
            keeps: What it must say again where a response is the full state.
        """
        answer = await self.next()
        full = self.variant == "sotw" and alias in FULL_STATE
        expected = {**put, **(keeps or {})} if full else dict(put)
        gone = () if self.variant == "sotw" else tuple(sorted(removed))
        said = (answer.alias, answer.put, tuple(sorted(answer.removed)))
        assert said == (alias, expected, gone), f"{said} is not {(alias, expected, gone)}"
        return answer

    async def takes(
        self,
        alias: str,
        put: Mapping[str, str],
        *,
        removed: Iterable[str] = (),
        keeps: Mapping[str, str] | None = None,
    ) -> Answer:
        """Do as `expect` and acknowledge."""
        answer = await self.expect(alias, put, removed=removed, keeps=keeps)
        await self.ack(answer)
        return answer

    async def expect_silence(self) -> None:
        """Prove that nothing is due: the answers to what is asked for now come first.

        A stream's requests are taken in order, and what is sent is sent in the
        order of the types; markers are the last. What waits for all others to be
        answered would come between the first marker's acknowledgement and the second.
        """
        for _ in range(2):
            self._markers += 1
            name = f"marker-{self._markers}"
            await self.subscribe(MARKER, name)
            await self.takes(MARKER, {name: "1"})

    async def drain(self, refuses: Mapping[str, str] | None = None, error: str = "") -> list[Answer]:
        """Answer all that comes until nothing is due; return it.

        Args:
            refuses: `{name: version}`: a response with one of them is refused as a whole.
            error: The text of the refusal.
        """
        heard: list[Answer] = []
        quiet = 0
        while quiet < 2:
            quiet += 1
            self._markers += 1
            name = f"marker-{self._markers}"
            await self.subscribe(MARKER, name)
            while (answer := await self.next()).alias != MARKER:
                quiet = 0
                heard.append(answer)
                if refuses and refuses.items() & answer.put.items():
                    await self.nack(answer, error)
                else:
                    await self.ack(answer)
            assert answer.put == {name: "1"}, answer
            await self.ack(answer)
        return heard

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """Return the status with which the server ended the stream."""
        async with asyncio.timeout(ANSWER_S):
            return await self.call.code(), await self.call.details()

    # --- where the variants differ ----------------------------------------------------------
    @abstractmethod
    def first(self, *names: str) -> dict[str, Any]:
        """Return the fields of a first request for some names."""

    @abstractmethod
    def names(self, alias: str) -> dict[str, Any]:
        """Return the fields that repeat the interest in a type: in Delta there are none."""

    @abstractmethod
    async def restate(self, alias: str) -> None:
        """Send the first request of a type on a new stream, which says what the client runs."""

    @abstractmethod
    async def _say_interest(
        self, alias: str, *, subscribe: Iterable[str] = (), unsubscribe: Iterable[str] = ()
    ) -> None: ...

    @abstractmethod
    async def _settle(self, answer: Answer, error: str | None) -> None: ...

    @abstractmethod
    def _answer(self, message: Any) -> Answer: ...

    @abstractmethod
    def accept(self, answer: Answer) -> None:
        """Note what a response brings into force."""
