"""The client status discovery service, as a standard client sees it: over gRPC, in Envoy's own messages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfig,
    ClientConfigGenericXdsConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    ListMatcher,
    NodeMatcher,
    OrMatcher,
    RegexMatcher,
    StringMatcher,
    StructMatcher,
    StructMatcherPathSegment,
    ValueMatcher,
)
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from control_plane.observe.client_status_service import MAX_STREAMS, SERVICE, ClientStatusService
from control_plane.observe.node_matchers import (
    MAX_MATCHERS,
    MAX_VALUES,
    MatcherError,
    check_matchers,
    matches,
)
from control_plane.reconcile.node_views import KnownNode, node_detail
from control_plane.reconcile.standing import Refusal
from control_plane.resources.endpoints import load_assignment_resource
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from control_plane.xds.server import AdsServer
from control_plane.xds.session import TypeStatus
from tests.conformance.plane import NODE_ID, Plane
from tests.conformance.resources import TYPES
from tests.control_plane.observing import refusing, watched
from tests.support.resources import cluster
from tests.xds.support import NODE, wait_cache
from wire.gen.gaugeway.envoy.v1 import client_status_pb2 as pb
from wire.names import CLUSTER_TYPE, ENVOY_ROLE, WORKER_ROLE

SYNCED, NOT_SENT, STALE, ERROR = (
    ConfigStatus.SYNCED,
    ConfigStatus.NOT_SENT,
    ConfigStatus.STALE,
    ConfigStatus.ERROR,
)
REQUESTED, DOES_NOT_EXIST, ACKED, NACKED = (
    ClientResourceStatus.REQUESTED,
    ClientResourceStatus.DOES_NOT_EXIST,
    ClientResourceStatus.ACKED,
    ClientResourceStatus.NACKED,
)


@dataclass
class Asking:
    """A standard client of a server."""

    channel: grpc.aio.Channel

    async def fetch(self, *node_ids: StringMatcher, **fields: Any) -> list[ClientConfig]:
        """Ask once; return what is said of each node."""
        if node_ids:
            fields["node_matchers"] = [NodeMatcher(node_id=each) for each in node_ids]
        method = self.channel.unary_unary(f"/{SERVICE}/FetchClientStatus", bytes, ClientStatusResponse.parse)
        response: ClientStatusResponse = await method(ClientStatusRequest(**fields))
        return response.config

    async def node(self, node_id: str = NODE_ID) -> dict[tuple[str, str], ClientConfigGenericXdsConfig]:
        """Return what is said of one node, by short alias of the type and name."""
        [config] = await self.fetch(StringMatcher(exact=node_id))
        aliases = {type_url: alias for alias, type_url in TYPES.items()}
        return {(aliases[each.type_url], each.name): each for each in config.generic_xds_configs}

    def stream(self) -> Any:
        """Open a stream of questions."""
        method: Any = self.channel.stream_stream(
            f"/{SERVICE}/StreamClientStatus", bytes, ClientStatusResponse.parse
        )
        return method()


@dataclass
class Asked:
    """A control plane and who asks it."""

    plane: Plane
    service: ClientStatusService
    asking: Asking


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Asked]:
    """Return a served control plane, empty."""
    cache, registry = SnapshotCache(), CollectorRegistry()
    service = ClientStatusService(cache, registry, **options)
    plane = Plane(cache, AdsServer(cache, registry, services=[service.handler()]), registry)
    plane.port = await plane.server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
            yield Asked(plane, service, Asking(channel))
            for client in plane.clients:
                await client.close()
    finally:
        service.close()
        await plane.server.stop()


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """A control plane that nobody has connected to."""
    async with serving() as served:
        yield served


Said = dict[tuple[str, str], ClientConfigGenericXdsConfig]


def words(said: Said, *, of: str = "") -> dict[str, tuple[Any, Any, str]]:
    """Return both statuses and the version of each resource, but those of the suite itself."""
    return {
        name: (each.config_status, each.client_status, each.version_info)
        for (alias, name), each in said.items()
        if alias != "marker" and (not of or alias == of)
    }


# --- what is said of a resource -------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_a_resource_from_its_sending_to_its_refusal(asked: Asked, variant: str) -> None:
    """STALE until it is answered, then SYNCED; of a refused one the client's own text and both versions."""
    plane, asking = asked.plane, asked.asking
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    answer = await client.next()
    said = await asking.node()
    assert words(said) == {"a": (STALE, REQUESTED, ""), "b": (STALE, REQUESTED, "")}

    await client.ack(answer)
    await plane.until("it runs both", lambda: plane.of("cds").acked == {"a": "1", "b": "1"})
    said = await asking.node()
    assert words(said) == {"a": (SYNCED, ACKED, "1"), "b": (SYNCED, ACKED, "1")}
    assert said["cds", "a"].error_state is None
    assert said["cds", "a"].xds_config is not None
    assert said["cds", "a"].xds_config.value == b"a@1"

    plane.publish(cds={"a": "1", "b": "2"})
    refused = await client.next()
    await client.nack(refused, "Error adding/updating cluster(s) b: no such thing")
    await plane.until("it refuses b", lambda: "b" in plane.of("cds").rejected)
    said = await asking.node()
    assert words(said) == {"a": (SYNCED, ACKED, "1"), "b": (ERROR, NACKED, "1")}
    error = said["cds", "b"].error_state
    assert error is not None
    assert (error.version_info, error.details) == ("2", "Error adding/updating cluster(s) b: no such thing")
    assert error.failed_configuration is not None
    assert error.failed_configuration.value == b"b@2"


async def test_a_resource_that_the_preflight_check_keeps_back() -> None:
    """ERROR, with the check's own text; the client runs on, and refused nothing."""
    refusal = Refusal("2", "no such thing", "preflight")
    async with serving(held=lambda _: {(TYPES["cds"], "b"): refusal}) as asked:
        plane, asking = asked.plane, asked.asking
        plane.publish(cds={"a": "1", "b": "1"})
        client = plane.client("delta")
        await client.subscribe("cds")
        await client.ack(await client.next())
        await plane.until("it runs both", lambda: plane.of("cds").acked == {"a": "1", "b": "1"})
        said = await asking.node()
        assert words(said) == {"a": (SYNCED, ACKED, "1"), "b": (ERROR, ACKED, "1")}
        error, has = said["cds", "b"].error_state, said["cds", "b"].xds_config
        assert error is not None
        assert (error.version_info, error.details) == ("2", "no such thing")
        assert has is not None
        assert has.value == b"b@1"


async def test_what_is_not_there_and_what_goes(asked: Asked) -> None:
    """A name that there is not is said not to exist; what is removed is STALE until that is answered."""
    plane, asking = asked.plane, asked.asking
    plane.publish(cds={"a": "1"}, eds={"a": "1"})
    client = plane.client("delta")
    await client.subscribe("eds", "a", "gone")
    answer = await client.next()
    await client.ack(answer)
    await plane.until("it runs a", lambda: plane.of("eds").acked == {"a": "1"})
    said = words(await asking.node(), of="eds")
    assert said == {"a": (SYNCED, ACKED, "1"), "gone": (NOT_SENT, DOES_NOT_EXIST, "")}
    plane.publish(cds={"a": "1"}, eds={})
    answer = await client.next()
    assert words(await asking.node(), of="eds")["a"] == (STALE, ACKED, "1")
    await client.ack(answer)
    await plane.until("it runs none", lambda: plane.of("eds").acked == {})
    assert words(await asking.node(), of="eds")["a"] == (NOT_SENT, DOES_NOT_EXIST, "")


async def test_what_was_not_sent_is_said(asked: Asked) -> None:
    """Nothing is sent of what a client did not ask for by name."""
    plane = asked.plane
    plane.publish(eds={"a": "1", "b": "1"})
    client = plane.client("delta")
    await client.subscribe("eds", "a")
    await client.ack(await client.next())
    await plane.until("it runs a", lambda: plane.of("eds").acked == {"a": "1"})
    said = words(await asked.asking.node(), of="eds")
    assert said == {"a": (SYNCED, ACKED, "1"), "b": (NOT_SENT, REQUESTED, "")}


async def test_of_a_node_that_left_nothing_is_known(asked: Asked) -> None:
    """Both statuses are UNKNOWN; the version that it last ran is still there."""
    plane = asked.plane
    plane.publish(cds={"a": "1"})
    client = plane.client("delta")
    await client.subscribe("cds")
    await client.ack(await client.next())
    await plane.until("it runs a", lambda: plane.of("cds").acked == {"a": "1"})
    await client.close()
    await plane.disconnected()
    said = words(await asked.asking.node())
    assert said == {"a": (ConfigStatus.UNKNOWN, ClientResourceStatus.UNKNOWN, "1")}


async def test_secrets_are_not_shown(asked: Asked) -> None:
    """Their status is, and the contents of everything else unless the client does not want them."""
    plane = asked.plane
    plane.publish(cds={"a": "1"}, sds={"key": "1"})
    client = plane.client("delta")
    for alias, name in (("cds", "a"), ("sds", "key")):
        await client.subscribe(alias, name)
        await client.ack(await client.next())
        await plane.until(f"it runs {name}", lambda: plane.of(alias).acked == {name: "1"})  # noqa: B023
    said = await asked.asking.node()
    assert words(said) == {"a": (SYNCED, ACKED, "1"), "key": (SYNCED, ACKED, "1")}
    assert said["sds", "key"].xds_config is None
    assert said["cds", "a"].xds_config is not None
    [config] = await asked.asking.fetch(exclude_resource_contents=True)
    assert [each.xds_config for each in config.generic_xds_configs] == [None, None]


async def test_a_real_envoy_is_shown(tmp_path: Path) -> None:
    """All that it runs is SYNCED and ACKED, and its clusters can be read as what they are."""
    async with watched(tmp_path) as seen:
        await seen.run({"press-1": refusing()})
        async with grpc.aio.insecure_channel(f"127.0.0.1:{seen.observer.port}") as channel:
            [config] = await Asking(channel).fetch()
    assert config.node is not None
    assert (config.node.id, config.node.cluster) == ("envoy-1", ENVOY_ROLE)
    statuses = {(each.config_status, each.client_status) for each in config.generic_xds_configs}
    assert statuses == {(SYNCED, ACKED)}
    by_name = {each.name: each for each in config.generic_xds_configs if each.type_url == TYPES["cds"]}
    packed = by_name["host.lab"].xds_config
    assert packed is not None
    assert Cluster.parse(packed.value).name == "host.lab"


async def test_what_a_real_envoy_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    """ERROR and NACKED, with the refused content and Envoy's text; the API agrees. The rest is live."""
    async with watched(tmp_path) as seen:
        await seen.run({"press-1": refusing()})
        cache, bad = seen.observer.cache, cluster("host.bad", timeout_s=0)
        good = cache.published(NODE)
        assert good is not None
        wanted = good.with_changes([bad, load_assignment_resource("bad", {})])
        cache.publish(NODE, wanted, 2)

        def refused() -> TypeStatus | None:
            node = cache.node(NODE)
            of_clusters = None if node is None else node.types[CLUSTER_TYPE]
            return of_clusters if of_clusters is not None and "host.bad" in of_clusters.rejected else None

        await wait_cache(cache, "Envoy refuses the cluster", lambda: refused() is not None)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{seen.observer.port}") as channel:
            said = {
                (each.type_url, each.name): each
                for each in (await Asking(channel).fetch())[0].generic_xds_configs
            }
        node = cache.node(NODE)
        assert node is not None
        shown = {(each.type, each.name): each for each in node_detail(KnownNode(node, wanted)).resources}
    of_bad = said[CLUSTER_TYPE, "host.bad"]
    assert (of_bad.config_status, of_bad.client_status, of_bad.version_info) == (ERROR, NACKED, "")
    assert of_bad.error_state is not None
    assert "ConnectTimeout" in of_bad.error_state.details
    assert of_bad.error_state.failed_configuration is not None
    assert Cluster.parse(of_bad.error_state.failed_configuration.value).name == "host.bad"
    of_good = said[CLUSTER_TYPE, "host.lab"]
    assert (of_good.config_status, of_good.client_status) == (SYNCED, ACKED)
    rejected = shown["Cluster", "host.bad"].rejected
    assert rejected is not None
    assert (rejected.version, rejected.error) == (bad.version, of_bad.error_state.details)
    assert shown["Cluster", "host.lab"].state == "live"


# --- which nodes are meant --------------------------------------------------------------------
async def connect(plane: Plane, *node_ids: str, role: str = ENVOY_ROLE) -> None:
    """Have nodes with something to run connect."""
    for node_id in node_ids:
        key = NodeKey(role, node_id)
        plane.publish(key, cds={"a": "1"})
        client = plane.client("delta", node_id=node_id, role=role)
        await client.subscribe("cds")
        await client.ack(await client.next())
        await plane.until("it is there", lambda: plane.node(key).connected_since_unix_ns is not None)  # noqa: B023


@pytest.mark.parametrize(
    ("matchers", "meant"),
    [
        ([], ["plant-1", "plant-2", "site-1"]),
        ([StringMatcher(exact="plant-1")], ["plant-1"]),
        ([StringMatcher(exact="PLANT-1")], []),
        ([StringMatcher(exact="PLANT-1", ignore_case=True)], ["plant-1"]),
        ([StringMatcher(prefix="plant")], ["plant-1", "plant-2"]),
        ([StringMatcher(suffix="-1")], ["plant-1", "site-1"]),
        ([StringMatcher(contains="LAN", ignore_case=True)], ["plant-1", "plant-2"]),
        ([StringMatcher(safe_regex=RegexMatcher(regex="(plant|site)-1"))], ["plant-1", "site-1"]),
        ([StringMatcher(safe_regex=RegexMatcher(regex="plant"))], []),
        ([StringMatcher(exact="plant-2"), StringMatcher(prefix="site")], ["plant-2", "site-1"]),
    ],
)
async def test_nodes_are_chosen_by_id(asked: Asked, matchers: list[StringMatcher], meant: list[str]) -> None:
    """One of several matchers is enough; a regular expression means the whole id."""
    await connect(asked.plane, "plant-1", "plant-2", "site-1")
    assert [config.node.id for config in await asked.asking.fetch(*matchers) if config.node] == meant


async def test_envoy_and_worker_of_one_id_are_told_apart(asked: Asked) -> None:
    """Both are clients; the cluster of the node is its role."""
    await connect(asked.plane, "plant-1")
    await connect(asked.plane, "plant-1", role=WORKER_ROLE)
    configs = await asked.asking.fetch(StringMatcher(exact="plant-1"))
    assert [config.node.cluster for config in configs if config.node] == [ENVOY_ROLE, WORKER_ROLE]


@pytest.mark.parametrize(
    ("matcher", "reason"),
    [
        (StringMatcher(safe_regex=RegexMatcher(regex="(")), "no regular expression of RE2"),
        (StringMatcher(safe_regex=RegexMatcher(regex="a" * 2000)), "at most 1024 characters"),
        (StringMatcher(), "node_id must have one of exact, prefix"),
    ],
)
async def test_a_matcher_that_cannot_be_followed_is_refused(
    asked: Asked, matcher: StringMatcher, reason: str
) -> None:
    """INVALID_ARGUMENT says which and why, also where there is no node to hold it against."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked.asking.fetch(matcher)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in str(raised.value.details())


METADATA: Mapping[str, Any] = {
    "gateway_port": 10_000.0,
    "site": {"hall": "three", "tags": ["a", "b"], "old": False},
    "nothing": None,
}


def at(*path: str, **pattern: Any) -> bytes:
    """Return a node matcher for a value of the metadata, encoded by Envoy's own class."""
    keys = [StructMatcherPathSegment(key=key) for key in path]
    return bytes(NodeMatcher(node_metadatas=[StructMatcher(path=keys, value=ValueMatcher(**pattern))]))


WORD = ValueMatcher(string_match=StringMatcher(exact="b"))


@pytest.mark.parametrize(
    ("encoded", "meant"),
    [
        (at("site", "hall", string_match=StringMatcher(prefix="th")), True),
        (at("site", "hall", string_match=StringMatcher(exact="four")), False),
        (at("gateway_port", string_match=StringMatcher(prefix="1")), False),
        (at("site", "old", bool_match=False), True),
        (at("site", "old", bool_match=True), False),
        (at("site", "hall", present_match=True), True),
        (at("site", "door", present_match=True), False),
        (at("site", "hall", "deeper", present_match=False), True),
        (at("site", "tags", list_match=ListMatcher(one_of=WORD)), True),
        (at("site", "hall", list_match=ListMatcher(one_of=WORD)), False),
        (
            at("site", "hall", or_match=OrMatcher(value_matchers=[WORD, ValueMatcher(present_match=True)])),
            True,
        ),
        (at("site", "hall", or_match=OrMatcher(value_matchers=[WORD, WORD])), False),
    ],
)
def test_nodes_are_chosen_by_metadata(encoded: bytes, meant: bool) -> None:
    """Every kind of value that a matcher can describe."""
    matcher = pb.NodeMatcher.FromString(encoded)
    check_matchers([matcher])
    assert matches([matcher], "envoy-1", METADATA) is meant


def test_numbers_and_null_in_metadata() -> None:
    """Ranges are half open; a bool is no number."""
    of_port = pb.NodeMatcher()
    inner = of_port.node_metadatas.add()
    inner.path.add(key="gateway_port")
    inner.value.double_match.range.start, inner.value.double_match.range.end = 10_000, 10_001
    assert matches([of_port], "", METADATA)
    inner.value.double_match.range.start, inner.value.double_match.range.end = 9_999, 10_000
    assert not matches([of_port], "", METADATA)
    inner.value.double_match.exact = 10_000
    assert matches([of_port], "", METADATA)
    inner.path[0].key = "nothing"
    assert not matches([of_port], "", METADATA)
    inner.value.null_match.SetInParent()
    assert matches([of_port], "", METADATA)


@given(st.binary(max_size=100))
def test_any_matcher_is_followed_or_refused(data: bytes) -> None:
    """What was checked raises nothing when it is held against a node."""
    with contextlib.suppress(DecodeError, MatcherError):
        matcher = pb.NodeMatcher.FromString(data)
        check_matchers([matcher])
        assert matches([matcher], "envoy-1", METADATA) in {True, False}


# --- bounds ---------------------------------------------------------------------------------------
def test_many_values_in_few_matchers_are_refused() -> None:
    """Each would be held against every node while those wait; no expression beyond the limit is even read."""
    matcher = pb.NodeMatcher()
    options = matcher.node_metadatas.add().value.or_match.value_matchers
    for _ in range(MAX_VALUES - 1):
        options.add().string_match.exact = "x"
    check_matchers([matcher])
    options.add().string_match.safe_regex.regex = "("
    with pytest.raises(MatcherError, match=f"at most {MAX_VALUES} values"):
        check_matchers([matcher])


async def test_a_stream_is_answered_as_it_asks(asked: Asked) -> None:
    """Each request once, with how things stand then; ended when the control plane stops."""
    plane = asked.plane
    call = asked.asking.stream()
    await call.write(ClientStatusRequest())
    assert (await call.read()).config == []
    await connect(plane, "plant-1")
    await call.write(ClientStatusRequest())
    assert [config.node.id for config in (await call.read()).config] == ["plant-1"]
    asked.service.close()
    assert await call.code() == grpc.StatusCode.UNAVAILABLE


async def test_answers_and_streams_are_bounded() -> None:
    """RESOURCE_EXHAUSTED says what to ask instead; nothing is answered in part."""
    async with serving(max_response_bytes=200) as asked:
        await connect(asked.plane, "plant-1", "plant-2")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asked.asking.fetch()
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "node_matchers" in str(raised.value.details())
        assert len(await asked.asking.fetch(StringMatcher(exact="plant-1"))) == 1
        with pytest.raises(grpc.aio.AioRpcError, match="node_matchers must be at most"):
            await asked.asking.fetch(*[StringMatcher(exact="x")] * (MAX_MATCHERS + 1))
        calls = [asked.asking.stream() for _ in range(MAX_STREAMS)]
        for call in calls:
            await call.write(ClientStatusRequest(exclude_resource_contents=True, node_matchers=_NOBODY))
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError, match="as many as this server takes"):
            await asked.asking.fetch()
        metric = asked.plane.metric("gaugeway_client_status_requests_total", status="RESOURCE_EXHAUSTED")
        assert metric == 2


_NOBODY = [NodeMatcher(node_id=StringMatcher(exact="nobody"))]
