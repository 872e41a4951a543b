"""The pre-flight check: Envoy's own validation of what is about to be published.

It catches most bad resources before an Envoy of the fleet sees them. It never
stops the fleet: what cannot be checked (Envoy is missing here, hangs, is killed)
goes out unchecked, with a warning and a count, and NACKs contain what is bad.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control_plane.ending import end
from control_plane.reconcile.preflight_memory import PASSED, PreflightMemory, Verdict
from control_plane.reconcile.trial import Trial
from control_plane.resources.model import Resource, short_type
from control_plane.store.passes import load_passes, save_passes
from envoy_bootstrap.validate import Accepted, NotChecked, Outcome
from envoy_bootstrap.validation import Refusal

log = structlog.get_logger(__name__)

RETRY_S: Final = 60.0  # after Envoy could not be asked: until then nothing waits for it


class Validator(Protocol):
    """Envoy's opinion (envoy_bootstrap.validate.EnvoyValidator)."""

    async def identity(self) -> str | None:
        """Return what verdicts depend on besides the resource; None if that is not known."""
        ...

    async def validate(self, resources: Sequence[Resource]) -> Outcome:
        """Judge resources together."""
        ...


class PreflightMetrics:
    """What the pre-flight check counts, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.verdicts = Counter(
            "gaugeway_preflight_resources",
            "Resources that passed, were refused, or could not be checked before they were published.",
            ["verdict"],
            registry=registry,
        )
        self.run_seconds = Histogram(
            "gaugeway_preflight_run_seconds",
            "One run of envoy --mode validate.",
            buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.waiting = Gauge(
            "gaugeway_preflight_waiting", "Resources that wait for their check.", registry=registry
        )


class Preflight:
    """Knows what may be published, and finds out what it does not know."""

    def __init__(
        self,
        validator: Validator,
        changed: Callable[[], None],
        metrics: PreflightMetrics,
        *,
        file: Path | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        """`changed` is called when verdicts came; `file` keeps what passed; `retry_s` is as RETRY_S."""
        self._validator = validator
        self._on_change = changed
        self._metrics = metrics
        self._file = file
        self._retry_s = retry_s
        self._memory = PreflightMemory()
        self._identity: str | None = None
        self._unsaved = False
        self._away: tuple[float, str] | None = None  # until when (loop time) nothing is asked, and why
        self._wake = asyncio.Event()

    def verdict(self, resource: Resource) -> Verdict:
        """Return what is known of a resource; if nothing is, find out: `changed` is called then.

        Only clusters, listeners and routes can be pending or refused.
        """
        before = self._memory.waiting
        verdict = self._memory.verdict(resource)
        if self._memory.waiting != before:
            self._wake.set()
        return verdict

    def ever_passed(self, type_url: str, name: str) -> bool:
        """Whether any version of a resource passed, in this life or an earlier one."""
        return self._memory.ever_passed(type_url, name)

    async def recall(self) -> None:
        """Take up what passed in an earlier life; it must be checked again if Envoy is another one now."""
        self._identity = await self._validator.identity()
        if self._file is None:
            return
        identity, passed = await asyncio.to_thread(load_passes, self._file)
        valid = identity == self._identity
        self._memory.recall(passed, valid=valid)
        if passed:
            log.info("preflight_recalled", envoy=self._identity, passed=len(passed), valid=valid)

    async def run(self) -> None:
        """Check what is not known until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._memory.batch():
                await self._try(batch)
            await self._save()

    # --- one batch --------------------------------------------------------------------------
    async def _try(self, batch: Sequence[Resource]) -> None:
        trial = Trial(batch)
        while (group := trial.group) is not None:
            outcome = await self._outcome(group)
            if isinstance(outcome, Accepted):
                self._settle(trial.accepted(), PASSED)
            elif isinstance(outcome, NotChecked):
                self._settle(trial.abandoned(), Verdict("skipped", outcome.reason))
            elif (bad := trial.refused(outcome.suspects)) is not None:
                self._refuse(bad, outcome)

    async def _outcome(self, group: Sequence[Resource]) -> Outcome:
        loop = asyncio.get_running_loop()
        if self._away is not None and loop.time() < self._away[0]:
            return NotChecked(self._away[1])
        try:
            with self._metrics.run_seconds.time():
                outcome = await self._validator.validate(group)
        # Also what no validator should raise: it must not hold back the fleet.
        except Exception as error:
            log.exception("preflight_failed")
            outcome = NotChecked(f"{type(error).__name__}: {error}")
        if isinstance(outcome, NotChecked):
            self._away = loop.time() + self._retry_s, outcome.reason
            log.warning("preflight_away", reason=outcome.reason, retry_s=self._retry_s)
        else:
            self._away = None
        return outcome

    def _refuse(self, resource: Resource, refusal: Refusal) -> None:
        log.error(
            "resource_refused_before_publishing",
            type=short_type(resource.type_url),
            name=resource.name,
            version=resource.version,
            reason=refusal.reason,
        )
        self._settle((resource,), Verdict("refused", refusal.reason, refusal.deadly))

    def _settle(self, resources: Sequence[Resource], verdict: Verdict) -> None:
        self._memory.settle(resources, verdict)
        self._unsaved |= verdict is PASSED
        self._metrics.verdicts.labels(verdict.state).inc(len(resources))
        self._metrics.waiting.set(self._memory.waiting)
        self._on_change()

    async def _save(self) -> None:
        if self._file is None or self._identity is None or not self._unsaved:
            return
        self._unsaved = False
        try:
            await asyncio.to_thread(save_passes, self._file, self._identity, self._memory.passed())
        except OSError as error:
            log.warning("preflight_passes_not_saved", file=str(self._file), reason=str(error))


@contextlib.asynccontextmanager
async def running_preflight(preflight: Preflight) -> AsyncIterator[asyncio.Task[None]]:
    """Have the check take up what it knew, and run until the end; return its task."""
    await preflight.recall()
    task = asyncio.create_task(preflight.run(), name="preflight")
    try:
        yield task
    finally:
        await end([task])
