"""The pre-flight check with the real Envoy, and with programs that are not what they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from control_plane.reconcile.preflight import Preflight, PreflightMetrics, Validator, running_preflight
from control_plane.reconcile.preflight_memory import PASSED, PENDING, Verdict
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import Resource, new_resource
from control_plane.resources.routes import routes_resource
from control_plane.store.passes import load_passes
from envoy_bootstrap.binary import EnvoyMissingError
from envoy_bootstrap.validate import EnvoyValidator, Outcome
from tests.envoy_bootstrap.support import wait_for
from tests.support.resources import cluster, listener_without_prefix, routes
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE

NO_TIMEOUT = "ClusterValidationError.ConnectTimeout: value must be greater than 0s"
NO_PREFIX = "HttpConnectionManagerValidationError.StatPrefix: value length must be at least 1 characters"
NEGATIVE = "Invalid duration: Expected positive duration: seconds: -1"


@dataclass
class Counted:
    """A validator that counts how often Envoy is asked."""

    inner: Validator = field(default_factory=EnvoyValidator)
    runs: int = 0

    async def identity(self) -> str | None:
        """See Validator."""
        return await self.inner.identity()

    async def validate(self, resources: Sequence[Resource]) -> Outcome:
        """See Validator."""
        self.runs += 1
        return await self.inner.validate(resources)


class Checks:
    """A running check, and what it needs."""

    def __init__(self, validator: Validator, file: Path | None = None, retry_s: float = 60) -> None:
        self.validator = Counted(validator)
        self.registry = CollectorRegistry()
        self.changed = asyncio.Event()
        self.preflight = Preflight(
            self.validator, self.changed.set, PreflightMetrics(self.registry), file=file, retry_s=retry_s
        )

    async def verdicts(self, resources: Sequence[Resource]) -> list[Verdict]:
        """Ask again whenever verdicts came until none is pending."""
        async with asyncio.timeout(30):
            while True:
                self.changed.clear()
                verdicts = [self.preflight.verdict(each) for each in resources]
                if PENDING not in verdicts:
                    return verdicts
                await self.changed.wait()

    def count(self, verdict: str) -> float | None:
        """Return the metric of a verdict."""
        return self.registry.get_sample_value("gaugeway_preflight_resources_total", {"verdict": verdict})


@asynccontextmanager
async def running(
    validator: Validator | None = None, file: Path | None = None, retry_s: float = 60
) -> AsyncIterator[Checks]:
    """Run a check."""
    checks = Checks(validator or EnvoyValidator(), file, retry_s)
    async with running_preflight(checks.preflight):
        yield checks


def clusters(count: int) -> list[Resource]:
    """Return good clusters."""
    return [cluster(f"cluster-{number}") for number in range(count)]


# --- the real Envoy -------------------------------------------------------------------------------
async def test_what_is_good_passes_in_one_run() -> None:
    """Pending at first, then passed; asking again asks no Envoy."""
    wanted = [listener_resource(0), routes_resource(), *clusters(20)]
    async with running() as checks:
        assert {checks.preflight.verdict(each) for each in wanted} == {PENDING}
        assert set(await checks.verdicts(wanted)) == {PASSED}
        assert set(await checks.verdicts(wanted)) == {PASSED}
        assert checks.validator.runs == 1
        assert checks.count("passed") == len(wanted)


async def test_a_bad_cluster_and_a_bad_listener_are_found_among_many() -> None:
    """Each with Envoy's own words for it; all others pass."""
    wanted = [listener_resource(0), *clusters(30), routes("bad-routes", domains=())]
    wanted[7], wanted[23] = cluster("bad", 0), listener_without_prefix("bad")
    async with running() as checks:
        verdicts = await checks.verdicts(wanted)
    assert verdicts[7] == Verdict("refused", NO_TIMEOUT)
    assert verdicts[23] == Verdict("refused", NO_PREFIX)
    assert verdicts[-1].state == "refused"
    assert "VirtualHostValidationError.Domains" in verdicts[-1].reason
    assert [verdict.state for verdict in verdicts].count("passed") == len(wanted) - 3
    assert checks.count("refused") == 3


@pytest.mark.parametrize(("timeout_s", "reason", "runs"), [(0, NO_TIMEOUT, 3), (-1, NEGATIVE, 16)])
async def test_one_bad_among_a_hundred_takes_few_runs(timeout_s: int, reason: str, runs: int) -> None:
    """Three if Envoy says where it is, else about twice the logarithm."""
    wanted = clusters(100)
    wanted[61] = cluster("cluster-61", timeout_s)
    async with running() as checks:
        verdicts = await checks.verdicts(wanted)
        assert checks.validator.runs <= runs
    assert verdicts[61] == Verdict("refused", reason)
    assert verdicts.count(PASSED) == 99


async def test_two_that_do_not_go_together_both_pass() -> None:
    """Only a resource that Envoy refuses by itself is refused: they may be for different nodes."""
    twin = new_resource(CLUSTER_TYPE, "twin", cluster("cluster-0").body)
    async with running() as checks:
        assert set(await checks.verdicts([*clusters(3), twin])) == {PASSED}


async def test_versions_of_one_name_are_judged_apart() -> None:
    """The gateways of two Envoys have one name and two ports."""
    wanted = [listener_resource(0), listener_resource(10_000), cluster("one"), cluster("one", 0)]
    async with running() as checks:
        verdicts = await checks.verdicts(wanted)
    assert verdicts == [PASSED, PASSED, PASSED, Verdict("refused", NO_TIMEOUT)]


# --- over restarts --------------------------------------------------------------------------------
async def test_a_restart_pays_nothing(tmp_path: Path) -> None:
    """What passed is known at once; what was refused is asked again."""
    file = tmp_path / "control" / "preflight.json"
    wanted = [listener_resource(0), *clusters(5), cluster("bad", 0)]
    async with running(file=file) as checks:
        await checks.verdicts(wanted)
        await saved(file)
    async with running(file=file) as checks:
        at_once = [checks.preflight.verdict(each) for each in wanted]
        assert at_once == [PASSED] * 6 + [PENDING]
        assert (await checks.verdicts(wanted))[-1] == Verdict("refused", NO_TIMEOUT)
        assert checks.validator.runs == 1
        assert checks.preflight.ever_passed(CLUSTER_TYPE, "cluster-0")
        assert not checks.preflight.ever_passed(CLUSTER_TYPE, "bad")


async def test_another_envoy_judges_again(tmp_path: Path) -> None:
    """But what once passed is known by name."""
    file = tmp_path / "preflight.json"
    async with running(file=file) as checks:
        await checks.verdicts(clusters(1))
        await saved(file)

    class Newer(EnvoyValidator):
        async def identity(self) -> str | None:
            return "newer"

    async with running(Newer(), file) as checks:
        assert checks.preflight.verdict(cluster("cluster-0")) == PENDING
        assert checks.preflight.ever_passed(CLUSTER_TYPE, "cluster-0")
        assert await checks.verdicts(clusters(1)) == [PASSED]
        assert checks.validator.runs == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "passed": [1]}', "\udcff"]
)
async def test_a_broken_file_only_costs_the_check(tmp_path: Path, content: str) -> None:
    """It is written anew."""
    file = tmp_path / "preflight.json"
    file.write_text(content, errors="surrogateescape")
    async with running(file=file) as checks:
        assert await checks.verdicts(clusters(1)) == [PASSED]
        await saved(file)


async def test_a_disk_that_takes_nothing_only_costs_the_check(tmp_path: Path) -> None:
    """The next life pays."""
    (tmp_path / "file").touch()
    async with running(file=tmp_path / "file" / "preflight.json") as checks:
        assert await checks.verdicts(clusters(1)) == [PASSED]
        assert await checks.verdicts(clusters(2)) == [PASSED, PASSED]


async def saved(file: Path) -> None:
    """Wait until the file says what passed."""

    async def there() -> bool:
        return bool((await asyncio.to_thread(load_passes, file))[1])

    await wait_for("what passed is on disk", there)


# --- nobody to ask --------------------------------------------------------------------------------
def missing() -> Path:
    """Find no Envoy."""
    raise EnvoyMissingError("envoy is missing")


async def test_without_envoy_everything_goes_out() -> None:
    """With a reason and a count; and nothing is asked again until it is time."""
    async with running(EnvoyValidator(missing)) as checks:
        expected = Verdict("skipped", "Envoy cannot be run: envoy is missing")
        assert await checks.verdicts(clusters(3)) == [expected] * 3
        assert expected.may_go_out
        assert await checks.verdicts(clusters(5)) == [expected] * 5
        assert checks.validator.runs == 1
        assert checks.count("skipped") == 5


async def test_envoy_is_asked_again_when_it_is_time() -> None:
    """It may have been installed meanwhile; what went out unchecked is not asked again."""
    async with running(EnvoyValidator(missing), retry_s=0) as checks:
        await checks.verdicts(clusters(1))
        checks.validator.inner = EnvoyValidator()
        states = [verdict.state for verdict in await checks.verdicts(clusters(2))]
        assert states == ["skipped", "passed"]
        assert checks.validator.runs == 2


async def test_a_hung_envoy_holds_nothing_back(tmp_path: Path) -> None:
    """It is killed at the deadline; what came meanwhile does not wait for another one."""
    file = tmp_path / "envoy"
    file.write_text("#!/bin/sh\nexec sleep 1000\n")
    file.chmod(0o755)
    async with running(EnvoyValidator(lambda: file, deadline_s=0.2)) as checks:
        first = asyncio.create_task(checks.verdicts(clusters(2)))
        expected = Verdict("skipped", "Envoy did not answer within 0.2 s")
        assert await first == [expected] * 2
        assert await checks.verdicts(clusters(4)) == [expected] * 4
        assert checks.validator.runs == 1


async def test_a_validator_that_fails_holds_nothing_back() -> None:
    """Whatever it raises."""

    class Failing(EnvoyValidator):
        async def validate(self, resources: Sequence[object]) -> Outcome:
            raise RuntimeError(f"{len(resources)} are too many")

    async with running(Failing()) as checks:
        assert await checks.verdicts(clusters(2)) == [Verdict("skipped", "RuntimeError: 2 are too many")] * 2


async def test_what_envoy_cannot_judge_is_not_held_back() -> None:
    """Load assignments change with every sensor."""
    async with running(EnvoyValidator(missing)) as checks:
        assert checks.preflight.verdict(new_resource(ENDPOINT_TYPE, "host", b"")) == PASSED
        assert checks.validator.runs == 0
