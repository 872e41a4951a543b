"""Views of the fleet: hosts, sinks, audit, and all at a glance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from control_plane.api.answers import json_answer
from control_plane.api.models import (
    Audit,
    AuditedShard,
    FleetStatus,
    HostList,
    SinkList,
)
from control_plane.api.ports import FleetPort, Info
from control_plane.api.problems import AUDIT_UNAVAILABLE, ProblemError, ProblemType
from control_plane.api.routes import Handler, Reply, Route
from control_plane.model import AuditUnavailableError

TAG: Final = "fleet"


@dataclass(frozen=True, slots=True)
class Views:
    """Handlers that only read."""

    fleet: FleetPort
    info: Info

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (
            _route("status", self.status, "The installation at a glance", FleetStatus),
            _route("hosts", self.hosts, "List hypervisor hosts", HostList),
            _route("sinks", self.sinks, "List sinks and how far behind each is", SinkList),
            _route(
                "audit",
                self.audit,
                "Account for every reading of every sensor",
                Audit,
                AUDIT_UNAVAILABLE,
                description="received = aggregated + duplicate + quarantined + too_late + excluded, exactly; "
                "counted by the fold of the journal, so a crash loses and doubles nothing.",
            ),
        )

    async def status(self, _: web.Request) -> web.Response:
        """Answer with the installation in a few numbers."""
        views = await self.fleet.sensors()
        return json_answer(
            FleetStatus(
                sensors={"total": len(views), **Counter(view.status for view in views)},
                readings_per_s=round(sum(view.stream.readings_per_s for view in views if view.stream), 3),
                shards=self.info.shards,
                nodes=list(self.fleet.node_summaries()),
                sinks=list(self.fleet.sinks()),
                urls=dict(self.info.urls),
                version=self.info.version,
            )
        )

    async def hosts(self, _: web.Request) -> web.Response:
        """Answer with every host."""
        return json_answer(HostList(hosts=sorted(self.fleet.hosts(), key=lambda host: host.id)))

    async def sinks(self, _: web.Request) -> web.Response:
        """Answer with every sink."""
        return json_answer(SinkList(sinks=sorted(self.fleet.sinks(), key=lambda sink: sink.sink)))

    async def audit(self, _: web.Request) -> web.Response:
        """Answer with the counters of every sensor, or none of them."""
        try:
            audited = await self.fleet.audit()
        except AuditUnavailableError as error:
            raise ProblemError(AUDIT_UNAVAILABLE, str(error), headers={"Retry-After": "1"}) from error
        shards = [
            AuditedShard(shard=audit.shard, generation=audit.generation, through=audit.through)
            for audit in sorted(audited, key=lambda audit: audit.shard)
        ]
        sensors = [sensor for audit in audited for sensor in audit.sensors]
        return json_answer(Audit(shards=shards, sensors=sorted(sensors, key=lambda sensor: sensor.sensor_id)))


def _route(
    noun: str,
    handler: Handler,
    summary: str,
    model: type[BaseModel],
    *problems: ProblemType,
    description: str = "",
) -> Route:
    """Return the route of a view, /v1/<noun>."""
    return Route(
        "GET",
        f"/v1/{noun}",
        handler,
        f"show{noun.capitalize()}",
        summary,
        TAG,
        (Reply(200, "As it is now.", model),),
        problems=problems,
        description=description,
    )
