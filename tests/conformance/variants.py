"""The two variants of the protocol, as clients speak them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tests.conformance.client import Answer, Client
from tests.conformance.resources import ALIASES, FULL_STATE, content
from wire.gen.gaugeway.envoy.v1 import discovery_pb2


class DeltaClient(Client):
    """Says what changes; is told what changes."""

    variant = "delta"
    prefix = "Delta"
    request_type = discovery_pb2.DeltaDiscoveryRequest
    response_type = discovery_pb2.DeltaDiscoveryResponse

    def first(self, *names: str) -> dict[str, Any]:
        """Return names to subscribe to."""
        return {"resource_names_subscribe": names}

    def names(self, alias: str) -> dict[str, Any]:  # noqa: ARG002  # as in SotW
        """Return nothing: interest stays as it was told."""
        return {}

    async def restate(self, alias: str) -> None:
        """State the version of each resource."""
        await self.say(
            alias,
            resource_names_subscribe=self.asked[alias],
            initial_resource_versions=self.have.get(alias, {}),
        )

    async def _say_interest(
        self, alias: str, *, subscribe: Iterable[str] = (), unsubscribe: Iterable[str] = ()
    ) -> None:
        await self.say(
            alias, resource_names_subscribe=list(subscribe), resource_names_unsubscribe=list(unsubscribe)
        )

    async def _settle(self, answer: Answer, error: str | None) -> None:
        detail = {} if error is None else {"error_detail": discovery_pb2.Status(code=13, message=error)}
        await self.say(answer.alias, response_nonce=answer.nonce, **detail)

    def _answer(self, message: discovery_pb2.DeltaDiscoveryResponse) -> Answer:
        names = [each.name for each in message.resources]
        assert len(set(names)) == len(names), f"a name twice in one response: {names}"
        return Answer(
            ALIASES[message.type_url],
            message.nonce,
            message.system_version_info,
            {each.name: each.version for each in message.resources},
            tuple(message.removed_resources),
            {each.name: seconds(each) for each in message.resources if each.HasField("ttl")},
            tuple(each.name for each in message.resources if not each.HasField("resource")),
        )

    def accept(self, answer: Answer) -> None:
        """Add and drop."""
        have = self.have.setdefault(answer.alias, {})
        have.update(answer.put)
        for name in answer.removed:
            have.pop(name, None)


class SotwClient(Client):
    """Says each time all that it wants; is told all that there is, or all of what changed."""

    variant = "sotw"
    prefix = "Stream"
    request_type = discovery_pb2.DiscoveryRequest
    response_type = discovery_pb2.DiscoveryResponse

    def first(self, *names: str) -> dict[str, Any]:
        """Return names to have."""
        return {"resource_names": names}

    def names(self, alias: str) -> dict[str, Any]:
        """Return the names: every request says them all."""
        return {"resource_names": self.asked[alias]}

    async def restate(self, alias: str) -> None:
        """State the version of the last response that was accepted."""
        await self._say_interest(alias)

    async def _say_interest(self, alias: str, **_: Iterable[str]) -> None:
        nonce = self._nonces.get(alias, "")
        await self.say(
            alias, resource_names=self.asked[alias], version_info=self._version(alias), response_nonce=nonce
        )

    async def _settle(self, answer: Answer, error: str | None) -> None:
        detail = {} if error is None else {"error_detail": discovery_pb2.Status(code=13, message=error)}
        await self.say(
            answer.alias,
            resource_names=self.asked[answer.alias],
            version_info=self._version(answer.alias),
            response_nonce=answer.nonce,
            **detail,
        )

    def _version(self, alias: str) -> str:
        last = self._answered.get(alias)
        return "" if last is None else last.version

    def _answer(self, message: discovery_pb2.DiscoveryResponse) -> Answer:
        wrapped = [unwrapped(each) for each in message.resources]
        put = dict(
            content(each.resource.value) if each.HasField("resource") else (each.name, "") for each in wrapped
        )
        assert len(put) == len(message.resources), f"a name twice in one response: {message}"
        return Answer(
            ALIASES[message.type_url],
            message.nonce,
            message.version_info,
            put,
            (),
            {each.name: seconds(each) for each in wrapped if each.HasField("ttl")},
            tuple(each.name for each in wrapped if not each.HasField("resource")),
        )

    def accept(self, answer: Answer) -> None:
        """Take the full state of the types that have it; add to the others."""
        self._answered[answer.alias] = answer
        have = self.have.setdefault(answer.alias, {})
        if answer.alias in FULL_STATE:
            have.clear()
        have.update(answer.put)


def unwrapped(entry: Any) -> discovery_pb2.Resource:
    """Return a SotW resource as a discovery Resource, which it only is on the wire if it has a ttl."""
    if entry.type_url == "type.googleapis.com/envoy.service.discovery.v3.Resource":
        return discovery_pb2.Resource.FromString(entry.value)
    resource = discovery_pb2.Resource(name=content(entry.value)[0])
    resource.resource.CopyFrom(entry)
    return resource


def seconds(resource: discovery_pb2.Resource) -> float:
    """Return a resource's time to live."""
    return resource.ttl.seconds + resource.ttl.nanos / 1e9


VARIANTS: Final[dict[str, type[Client]]] = {"delta": DeltaClient, "sotw": SotwClient}
