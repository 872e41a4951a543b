"""What the client status discovery service says of a node. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto

`config_status` is the control plane's view, `client_status` the client's.
`xds_config` is what the control plane has now, also if the client refuses it;
`version_info` is the version that the client is known to run. Of a node that is not
connected both are UNKNOWN: what it last said proves nothing any more.
"""

from __future__ import annotations

from typing import Final

from control_plane.reconcile.standing import NOT_HELD, Held, Standing, standings
from control_plane.resources.model import Resource, Snapshot
from control_plane.xds.cache import NodeStatus
from wire.gen.gaugeway.envoy.v1 import client_status_pb2 as pb
from wire.names import SECRET_TYPE

_CONFIG: Final = {
    "live": pb.SYNCED,
    "warming": pb.STALE,
    "pending": pb.NOT_SENT,
    "rejected": pb.ERROR,
    "removing": pb.STALE,
    "absent": pb.NOT_SENT,
}


def client_config(
    node: NodeStatus, snapshot: Snapshot | None, held: Held = NOT_HELD, *, contents: bool
) -> pb.ClientConfig:
    """Return where a node stands with everything that it asked for.

    Args:
        node: The node.
        snapshot: What was published for it.
        held: What the pre-flight check keeps back from it: that is refused, though not by the client.
        contents: Whether to say what resources hold; secrets are never shown.
    """
    config = pb.ClientConfig()
    config.node.id, config.node.cluster = node.key.node_id, node.key.role
    config.node.metadata.update(node.metadata)
    connected = node.connected_since_unix_ns is not None
    for type_url, status in node.types.items():
        shown = contents and type_url != SECRET_TYPE
        for each in standings(status, type_url, snapshot, held):
            resource = None if snapshot is None else snapshot.of(type_url).get(each.name)
            _describe(config.generic_xds_configs.add(), each, resource if shown else None)
            if not connected:
                config.generic_xds_configs[-1].config_status = pb.CONFIG_UNKNOWN
                config.generic_xds_configs[-1].client_status = pb.CLIENT_UNKNOWN
    return config


def _describe(config: pb.GenericXdsConfig, standing: Standing, resource: Resource | None) -> None:
    config.type_url, config.name = standing.type_url, standing.name
    config.version_info = standing.acked or ""
    config.config_status = _CONFIG[standing.state]
    config.client_status = _client_status(standing)
    if standing.since_unix_ns is not None:
        config.last_updated.FromNanoseconds(standing.since_unix_ns)
    if resource is not None:
        config.xds_config.type_url, config.xds_config.value = resource.type_url, resource.body
    if standing.refusal is not None:
        _explain(config.error_state, standing, resource)


def _client_status(standing: Standing) -> pb.ClientResourceStatus:
    if standing.refusal is not None and standing.refusal.by == "node":
        return pb.NACKED
    if standing.acked is not None:
        return pb.ACKED
    return pb.DOES_NOT_EXIST if standing.state == "absent" else pb.REQUESTED


def _explain(error: pb.UpdateFailureState, standing: Standing, resource: Resource | None) -> None:
    assert standing.refusal is not None
    error.details, error.version_info = standing.refusal.error, standing.refusal.version or ""
    if standing.since_unix_ns is not None:
        error.last_update_attempt.FromNanoseconds(standing.since_unix_ns)
    if resource is not None and resource.version == standing.refusal.version:
        error.failed_configuration.type_url = resource.type_url
        error.failed_configuration.value = resource.body
