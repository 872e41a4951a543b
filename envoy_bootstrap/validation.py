"""What `envoy --mode validate` is given to judge resources by, and what its words mean. Pure.

The resources go into a bootstrap as they are, in protobuf's binary format (a file
that ends in `.pb`), and Envoy merges the rest of the bootstrap from its command
line: nothing is encoded a second time. What Envoy says is what it would say if
the resource came over xDS, except for what is of a machine: a file that a
resource names is looked for on this one, a port that is taken is not noticed.
Secrets are never written down to be checked.
https://www.envoyproxy.io/docs/envoy/latest/operations/cli
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from wire.gen.gaugeway.envoy.v1 import validation_pb2
from wire.names import CLUSTER_TYPE, ENVOY_ROLE, LISTENER_TYPE, ROUTE_TYPE

VALIDATED_TYPES: Final = frozenset({CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE})
MAX_REASON: Final = 500  # characters
# As a dynamic resource is read: Envoy only counts a field that it does not know.
VALIDATE_FLAGS: Final = ("--mode", "validate", "--allow-unknown-static-fields", "--use-dynamic-base-id")
LOG_FLAGS: Final = ("--log-level", "critical", "--log-format", "%v")

_NODE: Final = "preflight"
_PREFIX: Final = "type.googleapis.com/"
_FILTERS: Final = "envoy.extensions.filters"
_MANAGER: Final = f"{_PREFIX}{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Final = f"{_PREFIX}{_FILTERS}.http.router.v3.Router"

_REFUSAL: Final = "error initializing configuration '"
_BROKEN_RULE: Final = "Proto constraint validation failed ("
# What stands around every resource here, and what only this bootstrap has.
_AROUND: Final = re.compile(
    r"^(?:(?:BootstrapValidationError|StaticResourcesValidationError|HttpConnectionManagerValidationError)"
    r"\.(?:StaticResources|Clusters\[\d+\]|Listeners\[\d+\]|RouteConfig): "
    r"embedded message failed validation \| caused by )+"
)
_PLACE: Final = re.compile(r"StaticResourcesValidationError\.(Clusters|Listeners)\[(\d+)\]")
_DEBUG_MARK: Final = re.compile(r"goo\.gle/debug\w+")
_CUT_SHORT: Final = "node 'id' and 'cluster' are required"


class EncodedResource(Protocol):
    """One resource of VALIDATED_TYPES (control_plane.resources.model.Resource)."""

    @property
    def type_url(self) -> str:
        """`type.googleapis.com/<message>`."""
        ...

    @property
    def name(self) -> str:
        """Its name among those of its type."""
        ...

    @property
    def body(self) -> bytes:
        """The encoded message."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Envoy does not take the resources.

    Attributes:
        reason: Why, in its words.
        suspects: Indices of those that it points at; it need not point at any.
        deadly: It does not refuse but dies of them.
    """

    reason: str
    suspects: tuple[int, ...] = ()
    deadly: bool = False


def validation_bootstrap(resources: Sequence[EncodedResource]) -> bytes:
    """Return the part of the bootstrap that holds the resources, encoded.

    The node comes last, and stands nowhere else: Envoy keeps what it read of a
    file that it cannot decode and goes on, so a bootstrap without a node, which
    it refuses, is one that it did not read to its end.

    Raises ValueError if a resource is not of VALIDATED_TYPES.
    """
    listeners, clusters = [], []
    for index, resource in enumerate(resources):
        if resource.type_url == CLUSTER_TYPE:
            clusters.append(resource.body)
        elif resource.type_url == LISTENER_TYPE:
            listeners.append(resource.body)
        elif resource.type_url == ROUTE_TYPE:
            listeners.append(_listener_around(resource.body, index))
        else:
            raise ValueError(f"{resource.type_url} cannot stand in a bootstrap")
    bootstrap = validation_pb2.ValidationBootstrap
    static = bootstrap.StaticResources(listeners=listeners, clusters=clusters)
    end = bootstrap(node=bootstrap.Node(id=_NODE, cluster=ENVOY_ROLE))
    return bootstrap(static_resources=static).SerializeToString() + end.SerializeToString()


@lru_cache(1)
def bootstrap_frame() -> str:
    """Return the rest of the bootstrap, JSON: that of every Envoy (bootstrap.py), without its node.

    It has the static clusters that resources name, and an ADS server that
    validation never asks.
    """
    config = BootstrapConfig(
        node_id=_NODE, xds_host="127.0.0.1", xds_port=1, ext_proc_socket="/nonexistent/worker.sock"
    )
    frame = json.loads(build_bootstrap(config))
    del frame["node"]
    return json.dumps(frame)


def read_refusal(output: str, resources: Sequence[EncodedResource]) -> Refusal | None:
    """Return why Envoy refused the resources, None if its output does not say that it did.

    Args:
        output: What it printed, or its begin and end: before its reason Envoy may print the whole message.
        resources: What it was given, in the same order.
    """
    _, refused, said = output.partition(_REFUSAL)
    if not refused:
        return None
    said = said.partition("': ")[2]  # the file's name
    _, broken, rule = said.rpartition(_BROKEN_RULE)
    reason = " ".join(_DEBUG_MARK.sub("", rule.strip().removesuffix(")") if broken else said).split())
    if _CUT_SHORT in reason:
        return Refusal(f"not an encoded {' or '.join(sorted({_kind(each) for each in resources}))}")
    place = _PLACE.search(reason)
    suspects = _named(reason, resources) if place is None else _at(place, resources)
    return Refusal(_AROUND.sub("", reason)[:MAX_REASON] or "Envoy gave no reason", suspects)


def _kind(resource: EncodedResource) -> str:
    return resource.type_url.rpartition(".")[2]


def _at(place: re.Match[str], resources: Sequence[EncodedResource]) -> tuple[int, ...]:
    """Return which resource stands at a place of the bootstrap."""
    clusters = place[1] == "Clusters"
    of_kind = [index for index, each in enumerate(resources) if (each.type_url == CLUSTER_TYPE) == clusters]
    return tuple(of_kind[int(place[2]) : int(place[2]) + 1])


def _named(reason: str, resources: Sequence[EncodedResource]) -> tuple[int, ...]:
    """Return which resources' names occur in a reason, as words of their own."""
    words = set(re.findall(r"[\w.:/-]+", reason))
    words |= {word.rstrip(".:") for word in words}
    return tuple(index for index, each in enumerate(resources) if each.name in words)


def _listener_around(routes: bytes, index: int) -> bytes:
    """Return an encoded listener whose only content are the encoded routes."""
    listener = validation_pb2.ValidationListener
    loose = validation_pb2.ValidationRoutes(validate_clusters=validation_pb2.ValidationRoutes.BoolValue())
    router = listener.Filter(name="router")
    router.typed_config.type_url = _ROUTER
    manager = validation_pb2.ValidationHttpConnectionManager(
        stat_prefix=_NODE, route_config=routes + loose.SerializeToString(), http_filters=[router]
    )
    network = listener.Filter(name="routes")
    network.typed_config.type_url = _MANAGER
    network.typed_config.value = manager.SerializeToString()
    address = listener.Address(socket_address=listener.SocketAddress(address="127.0.0.1", port_value=0))
    return listener(
        name=f"{_NODE}.routes-{index}",
        address=address,
        filter_chains=[listener.FilterChain(filters=[network])],
    ).SerializeToString()
