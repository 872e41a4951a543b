"""`gaugeway rules`: list, show, set, remove; `gaugeway events`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gaugeway.cli.options import ApiUrl, DataDir, Json, TokenFile, connect, duration
from gaugeway.cli.output import print_json, print_table
from gaugeway.durations import parse_duration_ms

app = typer.Typer(help="Rules: when events begin and end.", no_args_is_help=True)

_WHICH: Final = "Which series"
_WHEN: Final = "When"


class Kind(StrEnum):
    """The kinds of rules."""

    threshold = "threshold"
    rate = "rate"
    flatline = "flatline"
    missing = "missing"
    clock_skew = "clock_skew"


class Direction(StrEnum):
    """Of a rate."""

    rise = "rise"
    fall = "fall"
    either = "either"


RuleId = Annotated[str, typer.Argument(metavar="ID", help="A DNS label: a-z, 0-9 and '-', at most 63.")]
Names = Annotated[
    list[str] | None,
    typer.Option(help="A name or a pattern (*, ?); may be repeated.", rich_help_panel=_WHICH),
]


def _when(help_text: str, *names: str, of_time: bool = False) -> Any:
    """Return an option that says when events begin or end."""
    check = (lambda text: text and duration(text)) if of_time else None
    return typer.Option(*names, help=help_text, rich_help_panel=_WHEN, callback=check)


@app.command(name="list")
def list_rules(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """List every rule."""
    document = connect(api_url, token_file, data_dir).get("/v1/rules")
    if as_json:
        print_json(document)
        return
    print_table(
        ["RULE", "KIND", "CONDITION", "SENSORS", "SITES", "METRICS", "#REVISION"],
        (
            [
                rule["id"],
                rule["condition"]["kind"],
                _words(rule["condition"]),
                *(", ".join(rule["selection"][name]) or "*" for name in ("sensors", "sites", "metrics")),
                rule["revision"],
            ]
            for rule in document["rules"]
        ),
        "There are no rules: set one with `gaugeway rules set ID KIND`.",
    )


@app.command()
def show(
    rule_id: RuleId,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show one rule."""
    rule = connect(api_url, token_file, data_dir).get(_path(rule_id))
    _print_rule(rule, as_json)


@app.command(name="set")
def set_rule(
    rule_id: RuleId,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))],
    *,
    sensor: Names = None,
    site: Names = None,
    metric: Names = None,
    above: Annotated[float | None, _when("threshold: begins above this.")] = None,
    below: Annotated[float | None, _when("threshold: begins below this.")] = None,
    per_s: Annotated[float | None, _when("rate: begins beyond this change a second.")] = None,
    direction: Annotated[Direction, _when("rate.")] = Direction.either,
    clear: Annotated[float | None, _when("threshold, rate: ends when it is back at this.")] = None,
    span: Annotated[str | None, _when("rate: over this long.  [default: 10s]", of_time=True)] = None,
    epsilon: Annotated[float | None, _when("flatline: smaller changes are none.")] = None,
    for_: Annotated[str | None, _when("For this long. Not of rate.", "--for", of_time=True)] = None,
    behind: Annotated[str | None, _when("clock_skew: this far behind.", of_time=True)] = None,
    revision: Annotated[
        int | None, typer.Option(help="Only if it still has this revision; 0: only if it is new.")
    ] = None,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Set a rule: workers follow it from now on, while streams run."""
    condition: dict[str, Any] = {"kind": kind.value}
    if above is not None and below is not None:
        raise typer.BadParameter("give one of --above and --below")
    if above is not None or below is not None:
        condition |= {
            "side": "below" if above is None else "above",
            "level": below if above is None else above,
        }
    if kind is Kind.rate:
        condition["direction"] = direction.value
    given = {"per_s": per_s, "clear": clear, "epsilon": epsilon}
    times = {"span_ms": span, "for_ms": for_, "behind_ms": behind}
    condition |= {name: value for name, value in given.items() if value is not None}
    condition |= {name: parse_duration_ms(text) for name, text in times.items() if text}
    selection = {"sensors": sensor or [], "sites": site or [], "metrics": metric or []}
    api = connect(api_url, token_file, data_dir)
    rule = api.put(_path(rule_id), {"selection": selection, "condition": condition}, _only_if(revision))
    _print_rule(rule, as_json)


@app.command()
def remove(
    rule_id: RuleId,
    *,
    revision: Annotated[int | None, typer.Option(help="Only if it still has this revision.")] = None,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Remove a rule: its open events end."""
    rule = connect(api_url, token_file, data_dir).delete(_path(rule_id), _only_if(revision))
    if as_json:
        print_json(rule)
    else:
        typer.echo(f"{rule_id} is removed")


def events(
    *,
    rule: Annotated[str | None, typer.Option(help="Of this rule; else of all.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Of this sensor; else of all.")] = None,
    since: Annotated[str, typer.Option(help="How long ago, as in 10m, or a time (RFC 3339).")] = "1h",
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 100,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show events that rules began and ended, newest last."""
    query = {"rule": rule, "sensor": sensor, "since": since, "limit": limit}
    document = connect(api_url, token_file, data_dir).get("/v1/events", query)
    if as_json:
        print_json(document)
        return
    names = ("rule", "kind", "sensor", "site", "metric", "value", "unit", "since", "reason")
    print_table(
        ["TIME", "", "RULE", "KIND", "SENSOR", "SITE", "METRIC", "#VALUE", "UNIT", "SINCE", "REASON"],
        (
            [event["time"], event["type"].rpartition(".")[2], *(event["data"][name] for name in names)]
            for event in document["events"]
        ),
        f"No event since {since}.",
    )


def _path(rule_id: str) -> str:
    return f"/v1/rules/{quote(rule_id, safe='')}"


def _only_if(revision: int | None) -> dict[str, str]:
    if revision is None:
        return {}
    return {"If-Match": f'"{revision}"'} if revision else {"If-None-Match": "*"}


def _print_rule(rule: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(rule)
        return
    rows: list[tuple[str, object]] = [("id", rule["id"]), ("revision", rule["revision"])]
    rows += [(name, ", ".join(each) or "*") for name, each in rule["selection"].items()]
    rows += list(rule["condition"].items())
    print_table(["FIELD", "VALUE"], rows, "")


def _words(condition: Mapping[str, Any]) -> str:
    given = {name: value for name, value in condition.items() if name != "kind" and value is not None}
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in given.items()
    )
