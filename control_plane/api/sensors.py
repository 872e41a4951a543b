"""Sensors: added, listed, shown, removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from control_plane.api.answers import json_answer
from control_plane.api.conditional import entity_tag, names_revision, names_tag
from control_plane.api.idempotency import HEADER, KEY_PATTERN, REPLAYED_HEADER, read_key, serve_once
from control_plane.api.models import LABEL_PATTERN, NewSensor, SensorList
from control_plane.api.ports import Accounts, Answer, AuditEntry, FleetPort, Principal
from control_plane.api.problems import (
    IDEMPOTENCY_KEY_REUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SENSOR_EXISTS,
    STORE_UNAVAILABLE,
    FieldError,
    ProblemError,
    invalid,
)
from control_plane.api.requests import PRINCIPAL, read_body, to_its_end
from control_plane.api.routes import Parameter, Reply, Route
from control_plane.model import (
    SensorExistsError,
    SensorSpec,
    UnknownHostError,
    UnknownSensorError,
)
from control_plane.node_model import SensorDetail

TAG: Final = "sensors"
SENSOR_ID: Final = Parameter("id", "The sensor's id.", {"type": "string", "pattern": LABEL_PATTERN})

_ETAG = {"ETag": "Changes with the sensor's revision and with what is known of it: `<revision>-<digest>`."}
_IF_NONE_MATCH = Parameter("If-None-Match", "ETags that the client has.", {"type": "string"})
_IF_MATCH = Parameter(
    "If-Match",
    'An ETag, or the revision alone (`"7"`): the sensor is removed only if it still has that revision.',
    {"type": "string"},
)
_KEY = Parameter(
    HEADER,
    "A key of the client's choosing. The same request with the same key gets the same answer for 24 hours.",
    {"type": "string", "pattern": KEY_PATTERN},
)


@dataclass(frozen=True, slots=True)
class Sensors:
    """Handlers of /v1/sensors."""

    fleet: FleetPort
    accounts: Accounts

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (self._list_route(), self._add_route(), self._show_route(), self._remove_route())

    def _list_route(self) -> Route:
        return Route(
            "GET",
            "/v1/sensors",
            self.list,
            "listSensors",
            "List sensors",
            TAG,
            (Reply(200, "Every sensor, by id.", SensorList),),
        )

    def _add_route(self) -> Route:
        return Route(
            "POST",
            "/v1/sensors",
            self.add,
            "addSensor",
            "Add a sensor",
            TAG,
            (
                Reply(
                    201,
                    "It is stored; its VM, its stream and its windows follow by themselves.",
                    SensorDetail,
                    headers={
                        "Location": "Its path.",
                        REPLAYED_HEADER: "`true` if this is the answer of an earlier request.",
                        **_ETAG,
                    },
                ),
            ),
            problems=(SENSOR_EXISTS, IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE),
            headers=(_KEY,),
            body=NewSensor,
            description="A source of kind `machine` measures quantities of the machine that runs the agent, "
            "each metric with its own unit; one of kind `replay` replays a recording as its only metric.",
        )

    def _show_route(self) -> Route:
        return Route(
            "GET",
            "/v1/sensors/{id}",
            self.show,
            "showSensor",
            "Show a sensor",
            TAG,
            (
                Reply(200, "The sensor.", SensorDetail, headers=_ETAG),
                Reply(304, "It is as If-None-Match names it.", headers=_ETAG),
            ),
            problems=(NOT_FOUND,),
            parameters=(SENSOR_ID,),
            headers=(_IF_NONE_MATCH,),
        )

    def _remove_route(self) -> Route:
        return Route(
            "DELETE",
            "/v1/sensors/{id}",
            self.remove,
            "removeSensor",
            "Remove a sensor",
            TAG,
            (
                Reply(
                    202,
                    "It is being removed; once that is done it is not found.",
                    SensorDetail,
                    headers=_ETAG,
                ),
            ),
            problems=(NOT_FOUND, PRECONDITION_FAILED, STORE_UNAVAILABLE),
            parameters=(SENSOR_ID,),
            headers=(_IF_MATCH,),
            description="Its stream is ended, what it delivered is journalled, then its VM is removed. "
            "Its readings and windows stay.",
        )

    async def list(self, _: web.Request) -> web.Response:
        """Answer with every sensor."""
        views = await self.fleet.sensors()
        return json_answer(SensorList(sensors=sorted(views, key=lambda view: view.id)))

    async def show(self, request: web.Request) -> web.Response:
        """Answer with one sensor, or that it is as the client knows it."""
        response = _sensor_answer(self.find(request))
        condition = request.headers.get("If-None-Match")
        if condition is not None and names_tag(condition, response.headers["ETag"]):
            return web.Response(status=304, headers={"ETag": response.headers["ETag"]})
        return response

    async def add(self, request: web.Request) -> web.Response:
        """Store a sensor, once for each idempotency key."""
        asked = await read_body(request, NewSensor)
        spec = SensorSpec.model_validate(asked.model_dump())
        principal = request[PRINCIPAL]

        async def serve(again: bool) -> tuple[Answer, AuditEntry]:
            answer = await self._add(spec, again=again)
            entry = AuditEntry(principal, "sensor.add", spec.id, answer.status, spec.model_dump(mode="json"))
            return answer, entry

        return await to_its_end(serve_once(self.accounts, read_key(request, principal, spec), serve))

    async def _add(self, spec: SensorSpec, *, again: bool) -> Answer:
        try:
            view = await self.fleet.add_sensor(spec)
        except SensorExistsError as error:
            existing = self.fleet.sensor(spec.id)
            if again and existing is not None and _is_as_asked(existing, spec):
                return _created(existing)
            return _refused(ProblemError(SENSOR_EXISTS, str(error)))
        except UnknownHostError as error:
            return _refused(invalid([FieldError(field="host", rule=_without_field(str(error), "host"))]))
        return _created(view)

    async def remove(self, request: web.Request) -> web.Response:
        """Begin to remove a sensor, if it still is the one that the client means."""
        view = self.find(request)
        condition = request.headers.get("If-Match")
        if condition is not None and not names_revision(condition, view.revision):
            raise ProblemError(
                PRECONDITION_FAILED, f"sensor {view.id} has revision {view.revision}, not {condition}"
            )
        return _sensor_answer(await to_its_end(self._remove(view.id, request[PRINCIPAL])), 202)

    async def _remove(self, sensor_id: str, principal: Principal) -> SensorDetail:
        try:
            view = await self.fleet.remove_sensor(sensor_id)
        except UnknownSensorError as error:  # gone in between
            raise ProblemError(NOT_FOUND, str(error)) from error
        await self.accounts.record(AuditEntry(principal, "sensor.remove", sensor_id, 202))
        return view

    def find(self, request: web.Request) -> SensorDetail:
        """Return the sensor of the path. Raises ProblemError."""
        return find_sensor(self.fleet, request.match_info["id"])


def find_sensor(fleet: FleetPort, sensor_id: str) -> SensorDetail:
    """Return a sensor. Raises ProblemError if there is none."""
    view = fleet.sensor(sensor_id)
    if view is None:
        raise ProblemError(NOT_FOUND, f"there is no sensor {sensor_id}")
    return view


def _sensor_answer(view: SensorDetail, status: int = 200) -> web.Response:
    response = json_answer(view, status)
    assert isinstance(response.body, bytes)
    response.headers["ETag"] = entity_tag(view.revision, response.body)
    return response


def _created(view: SensorDetail) -> Answer:
    body = view.model_dump_json().encode()
    headers = {
        "Content-Type": "application/json",
        "Location": f"/v1/sensors/{view.id}",
        "ETag": entity_tag(view.revision, body),
    }
    return Answer(201, headers, body)


def _refused(problem: ProblemError) -> Answer:
    return Answer(problem.kind.status, {"Content-Type": "application/problem+json"}, problem.body())


def _is_as_asked(view: SensorDetail, spec: SensorSpec) -> bool:
    return (
        view.status != "removing"
        and view.model_dump(include=set(SensorSpec.model_fields)) == spec.model_dump()
    )


def _without_field(sentence: str, field: str) -> str:
    return sentence.removeprefix(f"{field} ")
