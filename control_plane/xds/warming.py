"""Clusters that were put and whose endpoints must follow. Pure.

Envoy keeps a new or changed cluster apart until its endpoints came, and its
answer to all clusters with it; in Delta it does not ask for them again.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping

from control_plane.resources.model import Resource
from control_plane.xds.messages import Batch
from control_plane.xds.past import Past
from control_plane.xds.subscription import Subscription


class Warming:
    """What waits for endpoints on one stream: they may not be asked for yet."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._leaving: dict[str, Resource] = {}  # endpoints that are gone, of clusters that wait for them

    def put(self, batch: Batch) -> None:
        """Note that clusters were sent."""
        self._names.update(batch.changed)
        self._names.difference_update(batch.removed)

    def resume(self, before: Past | None, asked: Collection[str], *, first: bool) -> None:
        """Note what may have been warming when the stream before broke.

        Such a client asks for endpoints first, and for clusters when they are warm.
        A new control plane knows by that alone, but not of which.

        Args:
            before: What is remembered of the clusters; None: nothing.
            asked: The endpoints asked for.
            first: Whether clusters were not asked for, but might have been.
        """
        if before is not None:
            self._names.update(before.unanswered)
        elif first:
            self._names.update(asked)

    def leave(
        self,
        gone: Mapping[str, Resource],
        stay: Container[str],
        clusters: Subscription,
        endpoints: Subscription | None,
    ) -> None:
        """Keep the endpoints that go before their cluster is warm (SotW).

        The cluster can go only when Envoy has answered it, which it does when it has
        its endpoints; and it cannot be told that they are gone.

        Args:
            gone: Endpoints that changed, as they were.
            stay: Names of all that there are now.
            clusters: What the client has of clusters.
            endpoints: What it has of endpoints; None: they were not asked for.
        """
        warming = clusters.flight.puts()
        self._leaving = {name: each for name, each in self._leaving.items() if name in warming}
        for name, resource in gone.items():
            if name in stay:
                self._leaving.pop(name, None)
            elif name in warming and (endpoints is None or endpoints.may_lack(name)):
                self._leaving[name] = resource

    def feed(self, endpoints: Subscription | None) -> None:
        """Have the endpoints of clusters sent that wait for them, as far as they are asked for."""
        if endpoints is None:
            return
        for name in [name for name in self._leaving if endpoints.wants(name)]:
            endpoints.lend(name, self._leaving.pop(name))
        asked = {name for name in self._names if endpoints.wants(name)}
        endpoints.renew(asked)
        self._names -= asked


def answer_due_since(clusters: Subscription, endpoints: Subscription | None) -> int | None:
    """Return since when (Unix ns) an answer to clusters is due; None while none is.

    It is withheld until they are warm; then it is due from when their endpoints were accepted.
    """
    since = clusters.flight.since
    for name in clusters.flight.puts():
        if since is None or endpoints is None or name not in endpoints.ledger.acked:
            return None
        since = max(since, endpoints.ledger.since.get(name, 0))
    return since
