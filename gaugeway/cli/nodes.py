"""`gaugeway nodes`: Envoys and workers, and what each runs of what it should."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gaugeway.cli.options import ApiUrl, DataDir, Json, TokenFile, connect
from gaugeway.cli.output import print_json, print_table

app = typer.Typer(help="Envoys and workers.", no_args_is_help=True)

RESOURCE_COLUMNS: Final = ("TYPE", "RESOURCE", "STATE", "FOR", "WANTED", "SENT", "ACKED", "REJECTED")
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


class Role(StrEnum):
    """What a node is."""

    envoy = "envoy"
    worker = "worker"


class State(StrEnum):
    """Where a node stands with a resource."""

    live = "live"
    warming = "warming"
    pending = "pending"
    rejected = "rejected"
    removing = "removing"
    absent = "absent"


@app.command(name="list")
def list_nodes(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """List Envoys and workers, and how much of what each should run it runs."""
    document = connect(api_url, token_file, data_dir).get("/v1/nodes")
    if as_json:
        print_json(document)
        return
    print_table(
        ["NODE", "ROLE", "STATUS", "FOR", "XDS", "RESOURCES ACKED/WANTED", "REJECTED", "MESSAGE"],
        (_node_row(node) for node in document["nodes"]),
        "No node is connected.",
    )


@app.command()
def show(
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="envoy or worker.")],
    node_id: Annotated[str, typer.Argument(metavar="ID", help="The node's id.")],
    *,
    kind: Annotated[
        str | None, typer.Option("--type", help="Only resources of this type, such as Cluster.")
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only resources in this state.")] = None,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show one node with every resource: versions wanted, sent, acknowledged and refused."""
    path = f"/v1/nodes/{role.value}/{quote(node_id, safe='')}"
    query = {"type": kind, "state": None if state is None else state.value}
    node = connect(api_url, token_file, data_dir).get(path, query)
    if as_json:
        print_json(node)
        return
    print_table(
        ["NODE", "ROLE", "STATUS", "FOR", "XDS", "RESOURCES ACKED/WANTED", "REJECTED", "MESSAGE"],
        [_node_row(node)],
        "",
    )
    for problem in node["problems"]:
        typer.echo(f"not sent: {problem}")
    typer.echo()
    print_table(RESOURCE_COLUMNS, map(resource_row, node["resources"]), "No such resource.")


def resource_row(resource: dict[str, Any]) -> list[object]:
    """Return one resource under RESOURCE_COLUMNS."""
    names = ("wanted", "sent", "acked")
    return [
        resource["type"],
        resource["name"],
        resource["state"],
        age(resource["since"]),
        *(resource[name] for name in names),
        _rejection(resource["rejected"]),
    ]


def age(since: str | None) -> str:
    """Return how long ago an RFC 3339 time was, in the largest whole unit."""
    if since is None:
        return ""
    passed = max(0, int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if passed >= size:
            return f"{passed // size}{unit}"
    return f"{passed}s"


def _node_row(node: dict[str, Any]) -> list[object]:
    types = node["types"]
    return [
        node["id"],
        node["role"],
        node["status"],
        age(node["connected_since"]),
        "/".join(sorted({each["variant"] for each in types.values()})),
        " ".join(f"{kind} {each['acked']}/{each['wanted']}" for kind, each in types.items()),
        "; ".join(
            f"{name}: {refused['error']}"
            for each in types.values()
            for name, refused in each["rejected"].items()
        ),
        node["message"],
    ]


def _rejection(rejected: dict[str, Any] | None) -> str:
    if rejected is None:
        return ""
    by = "" if rejected["by"] == "node" else "before it was sent, "
    return f"{by}{rejected['version'] or 'its removal'}: {rejected['error']}"
