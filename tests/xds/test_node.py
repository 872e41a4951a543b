"""Who a client says it is."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.xds.node import Node, UnknownNodeError, read_node
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE, GATEWAY_PORT_METADATA, WORKER_ROLE


def said(role: str, port: Any) -> Node:
    """Return the node that says that it wants its gateway on `port`."""
    message = discovery_pb2.Node(id="node-1", cluster=role)
    message.metadata.update({GATEWAY_PORT_METADATA: port})
    return read_node(message)


@pytest.mark.parametrize("port", [-1, 65_536, 1e300, 10_000.5, "10000", True, None, [10_000]])
def test_an_envoy_whose_gateway_port_is_none_is_refused(port: object) -> None:
    """No listener can be made from it: one such Envoy must not end the control plane."""
    with pytest.raises(UnknownNodeError, match=r"node\.metadata\.gateway_port must be a whole number from 0"):
        said(ENVOY_ROLE, port)


@pytest.mark.parametrize("port", [0, 1, 10_000, 65_535])
def test_an_envoy_may_want_any_port(port: int) -> None:
    """0 lets the system choose; one that names none is the same."""
    assert said(ENVOY_ROLE, port).metadata[GATEWAY_PORT_METADATA] == port
    assert read_node(discovery_pb2.Node(id="node-1", cluster=ENVOY_ROLE)).metadata == {}


def test_a_worker_may_say_of_itself_what_it_likes() -> None:
    """It has no gateway."""
    assert said(WORKER_ROLE, "none").metadata == {GATEWAY_PORT_METADATA: "none"}
