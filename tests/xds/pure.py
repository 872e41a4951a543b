"""Resources and snapshots for tests of the pure core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from control_plane.resources.model import Resource, Snapshot, new_snapshot
from control_plane.xds.messages import Request, Response, Variant
from control_plane.xds.session import Session


def resource(type_url: str, name: str, version: str) -> Resource:
    """Return a resource whose body tells what it is."""
    return Resource(name, type_url, version, f"{name}@{version}".encode())


def snapshot(**types: Mapping[str, str]) -> Snapshot:
    """Return a snapshot of `{alias: {name: version}}`; the aliases are those of TYPES."""
    resources = [
        resource(TYPES[alias], name, version)
        for alias, versions in types.items()
        for name, version in versions.items()
    ]
    return new_snapshot(resources, (TYPES[alias] for alias in types))


TYPES = {
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "eds": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "policy": "type.googleapis.com/gaugeway.config.v1.WindowPolicy",
    "lease": "type.googleapis.com/gaugeway.config.v1.ShardLease",
    "sensor": "type.googleapis.com/gaugeway.config.v1.SensorAssignment",
}
ALIASES = {type_url: alias for alias, type_url in TYPES.items()}


NOW = 1_800_000_000_000_000_000  # Unix ns; nothing here depends on it


class Talk:
    """A conversation with a session, in short words. In SotW `ask` names all that is wanted."""

    def __init__(self, session: Session | None = None, variant: Variant = "delta") -> None:
        self.session = session or Session(variant=variant)
        self.revision = 0
        self.now = NOW

    def publish(self, **types: Mapping[str, str]) -> list[str]:
        """Publish a snapshot; return what is sent."""
        self.revision += 1
        self.session.update(snapshot(**types), self.revision, self.now)
        return self.sent()

    def ask(
        self,
        alias: str,
        *subscribe: str,
        drop: Iterable[str] = (),
        has: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
        version: str = "",
    ) -> list[str]:
        """Send a request; return what is sent."""
        request = Request(TYPES[alias], tuple(subscribe), tuple(drop), has or {}, nonce, error, version)
        self.session.receive(request, self.now)
        return self.sent()

    def ack(self, alias: str, nonce: str) -> list[str]:
        """Acknowledge a response; return what is sent."""
        return self.ask(alias, nonce=nonce)

    def nack(self, alias: str, nonce: str, error: str) -> list[str]:
        """Refuse a response; return what is sent."""
        self.session.receive(Request(TYPES[alias], nonce=nonce, error=error), self.now)
        return self.sent()

    def sent(self) -> list[str]:
        """Return the responses as text: `<nonce> <alias> <name>@<version> -<name>`."""
        return [text(response) for response in self.session.responses(self.now)]

    def acked(self, alias: str) -> int:
        """Return the acknowledged revision of a type."""
        return self.session.acked_revisions().get(TYPES[alias], 0)


def text(response: Response) -> str:
    """Return a response in short words."""
    put = [f"{each.name}@{each.version}" for each in response.put]
    removed = [f"-{name}" for name in response.removed]
    return " ".join([response.nonce, ALIASES[response.type_url], *put, *removed])
