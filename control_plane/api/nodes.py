"""Nodes: Envoys and workers, and what each runs of what it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast, get_args

from aiohttp import web

from control_plane.api.answers import json_answer
from control_plane.api.conditional import content_tag, names_tag
from control_plane.api.models import LABEL_PATTERN, NodeList, NodeQuery
from control_plane.api.ports import FleetPort
from control_plane.api.problems import NOT_FOUND, ProblemError
from control_plane.api.requests import QUERY
from control_plane.api.routes import Parameter, Reply, Route
from control_plane.node_model import NodeDetail, ResourceView, Role

TAG: Final = "fleet"

_ROLES: Final[tuple[Role, ...]] = get_args(Role)
_ETAG: Final = {"ETag": "Changes with everything that is said of the node."}


@dataclass(frozen=True, slots=True)
class Nodes:
    """Handlers of /v1/nodes."""

    fleet: FleetPort

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (
            Route(
                "GET",
                "/v1/nodes",
                self.list,
                "showNodes",
                "List Envoys and workers, and what each runs of what it was sent",
                TAG,
                (Reply(200, "As it is now.", NodeList),),
            ),
            Route(
                "GET",
                "/v1/nodes/{role}/{id}",
                self.show,
                "showNode",
                "Show an Envoy or a worker with every resource",
                TAG,
                (
                    Reply(200, "The node.", NodeDetail, headers=_ETAG),
                    Reply(304, "It is as If-None-Match names it.", headers=_ETAG),
                ),
                problems=(NOT_FOUND,),
                parameters=(
                    Parameter("role", "What it is.", {"type": "string", "enum": list(_ROLES)}),
                    Parameter("id", "The node's id.", {"type": "string", "pattern": LABEL_PATTERN}),
                ),
                headers=(Parameter("If-None-Match", "ETags that the client has.", {"type": "string"}),),
                query=NodeQuery,
                description="An Envoy and the worker beside it have the same id.",
            ),
        )

    async def list(self, _: web.Request) -> web.Response:
        """Answer with every node."""
        return json_answer(NodeList(nodes=sorted(self.fleet.nodes(), key=lambda node: (node.id, node.role))))

    async def show(self, request: web.Request) -> web.Response:
        """Answer with one node, or that it is as the client knows it."""
        response = json_answer(_chosen(self._find(request), cast("NodeQuery", request[QUERY])))
        assert isinstance(response.body, bytes)
        tag = response.headers["ETag"] = content_tag(response.body)
        condition = request.headers.get("If-None-Match")
        if condition is not None and names_tag(condition, tag):
            return web.Response(status=304, headers={"ETag": tag})
        return response

    def _find(self, request: web.Request) -> NodeDetail:
        role, node_id = request.match_info["role"], request.match_info["id"]
        node = next((self.fleet.node(each, node_id) for each in _ROLES if each == role), None)
        if node is None:
            raise ProblemError(NOT_FOUND, f"there is no {role} {node_id}")
        return node


def _chosen(node: NodeDetail, query: NodeQuery) -> NodeDetail:
    """Return a node with the resources that the query means."""

    def is_meant(resource: ResourceView) -> bool:
        return query.type in {None, resource.type} and query.state in {None, resource.state}

    return node.model_copy(update={"resources": [each for each in node.resources if is_meant(each)]})
