"""The worker's Delta ADS client: takes resources, applies them, says so.

An ACK means applied, and applying may take as long as the journal is away. So
each type is answered on its own, and what is not in force after APPLY_S is
NACKed with the reason but goes on being applied; when it is done, the client
connects anew, and its initial_resource_versions tell the control plane.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final, Protocol

import grpc
import grpc.aio
import structlog

from ext_proc.follower.pacing import Backoff
from ext_proc.worker.ads_state import AdsState, Change
from ext_proc.worker.errors import NotAppliedError
from ext_proc.worker.resources import ResourceError
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

log = structlog.get_logger(__name__)

METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
APPLY_S: Final = 10.0
CONNECT_S: Final = 2.0
_OPTIONS: Final = (
    # One that hangs is left before its successor, which begins after 6 s, has waited 10 s for nodes.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # gRPC waits for the longer of the two: by default a minute
    ("grpc.http2.max_pings_without_data", 0),  # by default a quiet stream is asked for signs of life twice
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),
)

Response = discovery_pb2.DeltaDiscoveryResponse
Stream = grpc.aio.StreamStreamCall[discovery_pb2.DeltaDiscoveryRequest, Response]


class Applier(Protocol):
    """What resources are applied to (ext_proc.worker.applier.WorkerApplier)."""

    def heard(self, type_url: str, *, empty: bool) -> None:
        """Note that a response of this type came: with its changes, the first one says all there is."""
        ...

    async def apply(self, type_url: str, change: Change) -> None:
        """Bring `change` into force; changes of one name are applied in order.

        Raises ResourceError if it breaks a rule, NotAppliedError if it cannot be.
        """
        ...


class _StreamEndedError(Exception):
    """The stream was over before a request could be written."""


class _NotReachedError(Exception):
    """There is no server at an address, or it does not answer in time."""


class AdsClient:
    """Keeps a stream to the control plane.

    `connected` is true while a stream is open; what was accepted stays in force
    when it is not.

    Args:
        addresses: Where the control plane may be: one that does not answer is followed by the next.
        state: What was accepted.
        applier: What resources are applied to.
        apply_s: What is not in force by then is refused, and goes on being applied.
    """

    def __init__(
        self, addresses: Sequence[str], state: AdsState, applier: Applier, apply_s: float = APPLY_S
    ) -> None:
        self._addresses = tuple(addresses)
        self._address = ""  # the one that was last tried
        self._state = state
        self._applier = applier
        self._apply_s = apply_s
        self._late: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._reconnect = asyncio.Event()
        self.connected = False

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        backoff = Backoff(first_s=0.1, most_s=2.0)
        try:
            turn = 0
            while True:
                answered = await self._connect(self._addresses[turn], backoff)
                if not answered:
                    turn = (turn + 1) % len(self._addresses)
                if answered or turn == 0:
                    await asyncio.sleep(backoff.next_s(random.random()))
        finally:
            for task in self._late.values():
                task.cancel()

    async def _connect(self, address: str, backoff: Backoff) -> bool:
        """Hold one stream to its end; return whether anything came of it."""
        self._address = address
        try:
            async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
                await _reach(channel)
                await self._converse(channel, backoff)
            log.info("control_plane_reconnecting")
        except grpc.aio.AioRpcError as error:
            log.info("control_plane_away", address=address, code=str(error.code()), reason=error.details())
        except (_StreamEndedError, _NotReachedError) as error:
            log.info("control_plane_away", address=address, reason=str(error))
        finally:
            answered, self.connected = self.connected, False
        return answered

    async def _converse(self, channel: grpc.aio.Channel, backoff: Backoff) -> None:
        """Hold one stream; returns when it is to be opened anew. Raises AioRpcError, _StreamEndedError."""
        self._reconnect.clear()
        stream: Stream = channel.stream_stream(
            METHOD,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=Response.FromString,
        )(None)
        writing = asyncio.Lock()
        queues: dict[str, asyncio.Queue[Response]] = {}
        tasks: set[asyncio.Task[None]] = set()
        try:
            for request in self._state.first_requests():
                queues[request.type_url] = asyncio.Queue()
                await _write(stream, request)
            for queue in queues.values():
                tasks.add(asyncio.create_task(self._answer_all(stream, queue, writing)))
            tasks.add(asyncio.create_task(self._read(stream, queues, backoff)))
            tasks.add(asyncio.create_task(self._reconnect_wanted()))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stream.cancel()
            for task in tasks:
                task.cancel()
            if tasks:  # none if the control plane was not even reached
                await asyncio.wait(tasks)

    async def _reconnect_wanted(self) -> None:
        await self._reconnect.wait()

    async def _read(
        self, stream: Stream, queues: dict[str, asyncio.Queue[Response]], backoff: Backoff
    ) -> None:
        await stream.initial_metadata()  # comes at once, though there may be nothing to say for hours
        if not stream.done():
            self.connected = True
            backoff.reset()
            log.info("control_plane_connected", address=self._address)
        async for response in stream:
            queue = queues.get(response.type_url)
            if queue is None:
                log.warning("resources_not_asked_for", type_url=response.type_url)
                continue
            queue.put_nowait(response)

    async def _answer_all(
        self, stream: Stream, queue: asyncio.Queue[Response], writing: asyncio.Lock
    ) -> None:
        while True:
            response = await queue.get()
            failures = await self._apply(response)
            if failures:
                log.warning("resources_refused", type_url=response.type_url, reasons=list(failures.values()))
            async with writing:
                await _write(stream, self._state.answer(response, failures))

    async def _apply(self, response: Response) -> dict[str, str]:
        """Apply a response; return the sentence for each resource that is not in force."""
        type_url = response.type_url
        failures: dict[str, str] = {}
        changes = self._state.changes(response)
        self._applier.heard(type_url, empty=not changes)
        tasks = {
            asyncio.create_task(self._applier.apply(type_url, change), name=f"apply {change.name}"): change
            for change in changes
        }
        if not tasks:
            return failures
        try:
            await asyncio.wait(tasks, timeout=self._apply_s)
        finally:
            for task, change in tasks.items():
                if not task.done():
                    self._finish_late(type_url, change, task)
        for task, change in tasks.items():
            if not task.done():
                failures[change.name] = f"{change.name}: not applied within {self._apply_s:g} s, still trying"
            elif (reason := _failure(task)) is not None:
                failures[change.name] = reason
            else:
                self._state.applied(type_url, change)
        return failures

    def _finish_late(self, type_url: str, change: Change, task: asyncio.Task[None]) -> None:
        key = (type_url, change.name)
        self._late[key] = task

        def finished(task: asyncio.Task[None]) -> None:
            if self._late.get(key) is not task:
                return  # a newer change of the same resource is under way
            del self._late[key]
            if not task.cancelled() and _failure(task) is None:
                self._state.applied(type_url, change)
                self._reconnect.set()

        task.add_done_callback(finished)


async def _reach(channel: grpc.aio.Channel) -> None:
    """Wait for a server's first sign of life. Raises _NotReachedError: gRPC itself would try for 20 s."""
    try:
        async with asyncio.timeout(CONNECT_S):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    raise _NotReachedError("nothing listens there, or it cannot be reached")
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        raise _NotReachedError(f"no answer within {CONNECT_S:g} s") from None


async def _write(stream: Stream, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
    """Write a request. Raises AioRpcError, _StreamEndedError."""
    try:
        await stream.write(request)
    except asyncio.InvalidStateError as error:  # what gRPC says of a stream that ended already
        raise _StreamEndedError(str(error)) from error


def _failure(task: asyncio.Task[None]) -> str | None:
    """Return why a finished application failed; None if it did not."""
    error = task.exception()
    if error is None:
        return None
    if not isinstance(error, (ResourceError, NotAppliedError)):
        log.error("apply_failed", task=task.get_name(), exc_info=error)
        return f"{task.get_name()}: {type(error).__name__}: {error}"
    return str(error)
