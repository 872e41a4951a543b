"""Rules: listed, shown, set, removed; and the events that they begin and end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from control_plane.api.answers import json_answer
from control_plane.api.conditional import entity_tag, names_revision, names_tag
from control_plane.api.models import LABEL_PATTERN
from control_plane.api.ports import Accounts, AuditEntry, Principal, RulesPort
from control_plane.api.problems import (
    EVENTS_UNAVAILABLE,
    NOT_FOUND,
    PRECONDITION_FAILED,
    STORE_UNAVAILABLE,
    TOO_MANY_RULES,
    FieldError,
    ProblemError,
    invalid,
)
from control_plane.api.requests import PRINCIPAL, QUERY, read_body, to_its_end
from control_plane.api.routes import Parameter, Reply, Route
from control_plane.api.rule_models import EventList, EventsQuery, RuleList
from control_plane.api.times import moment_ns
from control_plane.rule_model import (
    EventsUnavailableError,
    RuleBody,
    RuleConflictError,
    RuleSpec,
    RuleView,
    TooManyRulesError,
    UnknownRuleError,
)
from wire.ids import InvalidIdError, check_dns_label

TAG: Final = "rules"
_ID: Final = Parameter("id", "The rule's id.", {"type": "string", "pattern": LABEL_PATTERN})
_ETAG: Final = {"ETag": "Changes with the rule: `<revision>-<digest>`."}
_IF_MATCH: Final = Parameter(
    "If-Match",
    'An ETag, or the revision alone (`"7"`): done only if the rule still has that revision.',
    {"type": "string"},
)
_IF_NONE_MATCH: Final = Parameter("If-None-Match", "ETags that the client has.", {"type": "string"})
_NEW_ONLY: Final = Parameter("If-None-Match", "`*`: done only if there is no such rule.", {"type": "string"})


@dataclass(frozen=True, slots=True)
class Rules:
    """Handlers of /v1/rules and /v1/events."""

    fleet: RulesPort
    accounts: Accounts
    now_unix_ns: Callable[[], int] = time.time_ns

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (self._list_route(), self._show_route(), self._put_route(), *self._other_routes())

    def _list_route(self) -> Route:
        reply = Reply(200, "Every rule, by id.", RuleList)
        return Route("GET", "/v1/rules", self.list, "listRules", "List rules", TAG, (reply,))

    def _show_route(self) -> Route:
        return Route(
            "GET",
            "/v1/rules/{id}",
            self.show,
            "showRule",
            "Show a rule",
            TAG,
            (
                Reply(200, "The rule.", RuleView, headers=_ETAG),
                Reply(304, "It is as If-None-Match names it.", headers=_ETAG),
            ),
            problems=(NOT_FOUND,),
            parameters=(_ID,),
            headers=(_IF_NONE_MATCH,),
        )

    def _put_route(self) -> Route:
        return Route(
            "PUT",
            "/v1/rules/{id}",
            self.put,
            "setRule",
            "Set a rule",
            TAG,
            (
                Reply(200, "It is stored; workers follow it from now on.", RuleView, headers=_ETAG),
                Reply(201, "It is new.", RuleView, headers=_ETAG),
            ),
            problems=(PRECONDITION_FAILED, TOO_MANY_RULES, STORE_UNAVAILABLE),
            parameters=(_ID,),
            headers=(_IF_MATCH, _NEW_ONLY),
            body=RuleBody,
            description="While streams run. Open events of a rule that is changed end, with the reason "
            "`rule_changed`. A rule that is set as it is keeps its revision, and its events go on.",
        )

    def _other_routes(self) -> tuple[Route, Route]:
        return (
            Route(
                "DELETE",
                "/v1/rules/{id}",
                self.remove,
                "removeRule",
                "Remove a rule",
                TAG,
                (Reply(200, "It was this; its open events end, with the reason `rule_removed`.", RuleView),),
                problems=(NOT_FOUND, PRECONDITION_FAILED, STORE_UNAVAILABLE),
                parameters=(_ID,),
                headers=(_IF_MATCH,),
            ),
            Route(
                "GET",
                "/v1/events",
                self.events,
                "listEvents",
                "List events",
                TAG,
                (Reply(200, "The newest that were asked for, newest last.", EventList),),
                problems=(EVENTS_UNAVAILABLE,),
                query=EventsQuery,
                description="CloudEvents 1.0 from the journal. An event is two of them: one says that it "
                "begins, one that it ends; `data.event` is the same in both.",
            ),
        )

    async def list(self, _: web.Request) -> web.Response:
        """Answer with every rule."""
        return json_answer(RuleList(rules=list(self.fleet.rules())))

    async def show(self, request: web.Request) -> web.Response:
        """Answer with one rule, or that it is as the client knows it."""
        response = _rule_answer(self._find(request.match_info["id"]))
        condition = request.headers.get("If-None-Match")
        if condition is not None and names_tag(condition, response.headers["ETag"]):
            return web.Response(status=304, headers={"ETag": response.headers["ETag"]})
        return response

    async def put(self, request: web.Request) -> web.Response:
        """Store a rule, if the client knows it as it is."""
        rule_id = _checked_id(request.match_info["id"])
        body = await read_body(request, RuleBody)
        spec = RuleSpec(id=rule_id, selection=body.selection, condition=body.condition)
        last = self._last(request, rule_id)
        return await to_its_end(self._put(spec, last, request[PRINCIPAL]))

    async def _put(self, spec: RuleSpec, last: int | None, principal: Principal) -> web.Response:
        is_new = self.fleet.rule(spec.id) is None
        try:
            view = await self.fleet.put_rule(spec, last)
        except RuleConflictError as error:
            raise ProblemError(PRECONDITION_FAILED, str(error)) from error
        except TooManyRulesError as error:
            raise ProblemError(TOO_MANY_RULES, str(error)) from error
        status = 201 if is_new else 200
        detail = spec.model_dump(mode="json")
        await self.accounts.record(AuditEntry(principal, "rule.set", spec.id, status, detail))
        return _rule_answer(view, status)

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a rule, if it still is the one that the client means."""
        view = self._find(request.match_info["id"])
        last = self._last(request, view.id)
        return await to_its_end(self._remove(view.id, last, request[PRINCIPAL]))

    async def _remove(self, rule_id: str, last: int | None, principal: Principal) -> web.Response:
        try:
            view = await self.fleet.remove_rule(rule_id, last)
        except UnknownRuleError as error:  # gone in between
            raise ProblemError(NOT_FOUND, str(error)) from error
        except RuleConflictError as error:
            raise ProblemError(PRECONDITION_FAILED, str(error)) from error
        await self.accounts.record(AuditEntry(principal, "rule.remove", rule_id, 200))
        return json_answer(view)

    async def events(self, request: web.Request) -> web.Response:
        """Answer with events of the past."""
        query = cast("EventsQuery", request[QUERY])
        try:
            found = await self.fleet.events(moment_ns(query.since, self.now_unix_ns()))
        except EventsUnavailableError as error:
            raise ProblemError(EVENTS_UNAVAILABLE, str(error)) from error
        wanted = [
            event
            for event in found
            if query.rule in {None, event["data"]["rule"]} and query.sensor in {None, event["data"]["sensor"]}
        ]
        return json_answer(EventList.model_validate({"events": wanted[-query.limit :]}))

    def _find(self, rule_id: str) -> RuleView:
        view = self.fleet.rule(rule_id)
        if view is None:
            raise ProblemError(NOT_FOUND, f"there is no rule {rule_id}")
        return view

    def _last(self, request: web.Request, rule_id: str) -> int | None:
        """Return the revision that the request is conditional on, 0: there must be none; None: on none."""
        view = self.fleet.rule(rule_id)
        condition, none = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if condition is not None:
            if view is None or not names_revision(condition, view.revision):
                known = f"has revision {view.revision}" if view else "does not exist"
                raise ProblemError(PRECONDITION_FAILED, f"rule {rule_id} {known}, not {condition}")
            return view.revision
        if request.method == "PUT" and none is not None:
            if none.strip() != "*":
                raise invalid([FieldError(field="If-None-Match", rule="must be *")])
            return 0
        return None


def _checked_id(rule_id: str) -> str:
    try:
        return check_dns_label("id", rule_id)
    except InvalidIdError as error:
        raise invalid([FieldError(field="id", rule=error.rule)]) from error


def _rule_answer(view: RuleView, status: int = 200) -> web.Response:
    response = json_answer(view, status)
    assert isinstance(response.body, bytes)
    response.headers["ETag"] = entity_tag(view.revision, response.body)
    return response
