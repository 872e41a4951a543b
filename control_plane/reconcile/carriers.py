"""What carries a sensor's stream: each Envoy and worker that is told of it, and how it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from control_plane.node_model import CarrierView, FailureView, ResourceState
from control_plane.observe.access_log import Failure
from control_plane.reconcile.node_views import KnownNode, resource_view
from control_plane.reconcile.standing import Standing, standing
from control_plane.reconcile.times import utc
from control_plane.reconcile.world import EnvoyState
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LEASE_TYPE, SENSOR_TYPE, host_cluster


def carriers(
    sensor_id: str, host_id: str, shard: int, nodes: Iterable[KnownNode], envoys: Mapping[str, EnvoyState]
) -> Iterator[CarrierView]:
    """Yield what carries a sensor, in the order of `nodes`.

    Args:
        sensor_id: The sensor.
        host_id: Its host.
        shard: Its shard.
        nodes: Every node.
        envoys: What the Envoys are known to run, by node id.
    """
    for node in nodes:
        if node.role == "envoy":
            cluster = host_cluster(host_id)
            told = [_standing(node, kind, cluster) for kind in (CLUSTER_TYPE, ENDPOINT_TYPE)]
            if any(_is_told(each) for each in told):
                yield _envoy(node, told, envoys.get(node.status.key.node_id), host_id, sensor_id)
        else:
            sensor = _standing(node, SENSOR_TYPE, sensor_id)
            if _is_told(sensor):
                yield _worker(node, [_standing(node, LEASE_TYPE, str(shard)), sensor], sensor_id)


def failure_view(failure: Failure) -> FailureView:
    """Return the view of a failure."""
    return FailureView(
        at=utc(failure.ended_unix_ns),
        node=failure.node,
        reason=failure.reason,
        flags=failure.flags,
        details=failure.details,
        transport_failure=failure.transport_failure or None,
        cluster=failure.cluster or None,
        upstream=failure.upstream or None,
        status=failure.status,
        lasted_s=failure.lasted_s,
    )


def _standing(node: KnownNode, type_url: str, name: str) -> Standing:
    status, held = node.status.types.get(type_url), node.held.get((type_url, name))
    return standing(status, type_url, name, node.snapshot, held)


def _is_told(each: Standing) -> bool:
    """Whether the node runs, should run or refuses something of the name."""
    return not (each.wanted is None and each.sent is None and each.acked is None and each.refusal is None)


def _envoy(
    node: KnownNode, told: list[Standing], state: EnvoyState | None, host_id: str, sensor_id: str
) -> CarrierView:
    endpoint = None if state is None else state.runs.get(host_id, {}).get(sensor_id)
    word = _word(node, told)
    return CarrierView(
        id=node.status.key.node_id,
        role="envoy",
        connected_since=node.connected_since,
        # All is live, and yet the sensor is not in it: it was given no endpoint (yet).
        state="pending" if word == "live" and endpoint is None else word,
        endpoint=None if endpoint is None else endpoint.version,
        resources=[resource_view(each) for each in told],
        stream=None,
    )


def _worker(node: KnownNode, told: list[Standing], sensor_id: str) -> CarrierView:
    heard = node.heard
    return CarrierView(
        id=node.status.key.node_id,
        role="worker",
        connected_since=node.connected_since,
        state=_word(node, told),
        endpoint=None,
        resources=[resource_view(each) for each in told],
        stream=heard.streams.get(sensor_id) if heard is not None and heard.fresh else None,
    )


def _word(node: KnownNode, told: list[Standing]) -> ResourceState | Literal["unreachable"]:
    if node.connected_since is None:
        return "unreachable"
    return next((each.state for each in told if each.state != "live"), "live")
