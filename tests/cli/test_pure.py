"""The demo fleet, durations, drawings, and what roles are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.config import ControlPlaneConfig
from control_plane.model import SensorSpec
from ext_proc.sinks.config import SinkConfig
from ext_proc.worker.config import WorkerConfig
from gaugeway.cli.output import gauge, sparkline
from gaugeway.demo import demo_fleet
from gaugeway.durations import format_duration_ms, parse_duration_ms
from gaugeway.logs import in_words
from gaugeway.settings import Settings
from gaugeway.supervisor.installation import Facts, Installation, programs
from gaugeway.supervisor.layout import Layout
from gaugeway.supervisor.programs import RoleProgram
from hyperv.guest.machine import UNITS
from hyperv.lab.app import LabHostConfig


@pytest.mark.parametrize("available", [[], ["memory_used"], list(UNITS)])
@pytest.mark.parametrize("size", [1, 2, 6, 40])
def test_the_demo_fleet_is_what_the_api_takes(size: int, available: list[str]) -> None:
    """It has the size that was asked for, ids of its own, and only quantities that the machine has."""
    fleet = [SensorSpec.model_validate(body) for body in demo_fleet(size, available)]
    assert len({sensor.id for sensor in fleet}) == size
    measured = {
        metric.name for sensor in fleet if sensor.source.kind == "machine" for metric in sensor.metrics
    }
    assert measured <= set(available)


def test_the_demo_fleet_grows_without_changing() -> None:
    """A larger fleet begins with the smaller one; the usual one has both recordings and this machine."""
    assert demo_fleet(12, list(UNITS))[:6] == demo_fleet(6, list(UNITS))
    kinds = [body["source"].get("recording", "machine") for body in demo_fleet(6, list(UNITS))]
    assert set(kinds) == {"machine", "machine_temperature", "ambient_temperature"}


@given(st.integers(1, 10**9))
def test_durations_read_what_they_write(duration_ms: int) -> None:
    """Parsing undoes formatting."""
    assert parse_duration_ms(format_duration_ms(duration_ms)) == duration_ms


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.5s", "10 s", "1w", "٣s", "10S", "0s"])
def test_a_duration_needs_a_number_and_a_unit(text: str) -> None:
    """Anything else is refused with the rule."""
    with pytest.raises(ValueError, match="must be a whole number and a unit"):
        parse_duration_ms(text)


@given(st.lists(st.floats(-1e300, 1e300), max_size=200), st.integers(1, 80))
def test_sparklines_fit_and_show_extremes(values: list[float], width: int) -> None:
    """One bar a value, or a group of them; all within the width."""
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    if len(set(values)) > 1 and len(values) <= width:
        assert line[values.index(min(values))] == "▁"
        assert line[values.index(max(values))] == "█"


def test_gauges_mark_where_a_value_lies() -> None:
    """Lowest at the left, highest at the right; equal bounds mark the left."""
    assert gauge(0, 0, 10, 5) == "●····"
    assert gauge(10, 0, 10, 5) == "····●"
    assert gauge(3, 3, 3, 5) == "●····"


async def test_roles_are_told_what_they_take(tmp_path: Path) -> None:
    """Each configuration that the supervisor makes is one that the house accepts."""
    bigquery = {"project": "p", "dataset": "d"}
    settings = Settings.model_validate({"bigquery": bigquery})
    facts = Facts()
    facts.nats_url.learn("nats://127.0.0.1:1")
    facts.lab_url.learn("http://127.0.0.1:2")
    facts.xds_address.learn("127.0.0.1:3")
    facts.gateway_url.learn("http://127.0.0.1:4")
    facts.worker.learn("/socket")
    installation = Installation(Layout(tmp_path), settings)
    installation.layout.make()
    told: dict[str, Any] = {
        program.name: await asyncio.wait_for(program.standard_input(), 5)
        for program in programs(installation, facts)
        if isinstance(program, RoleProgram)
    }
    LabHostConfig.model_validate_json(told["lab-host"])
    WorkerConfig.model_validate_json(told["worker"])
    SinkConfig.model_validate_json(told["sink-warehouse"])
    SinkConfig.model_validate_json(told["sink-bigquery"])

    class WithWarehouse(ControlPlaneConfig):
        warehouse_dir: Path

    config = WithWarehouse.model_validate_json(told["control-plane"])
    assert config.warehouse_dir == tmp_path / "warehouse"
    assert config.xds_port == 3, "a port that is known is kept"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1] listen on port 1: in use", "[1] listen on port 1: in use"),
        ('"text"', '"text"'),
        ('{"no": "event"}', '{"no": "event"}'),
        (
            '{"url": "nats://x:1", "n": 2, "event": "away", "level": "info", "time": "x", "process": "sink"}',
            "away url=nats://x:1 n=2",
        ),
        (
            '{"event": "crashed", "exception": [{"exc_type": "OSError", "exc_value": "no disk"}]}',
            "crashed: OSError: no disk",
        ),
        (700 * "x", 500 * "x" + " ..."),
    ],
)
def test_lines_of_logs_in_words(line: str, words: str) -> None:
    """Ours lose quotes and tracebacks, others stay as they are, long ones are cut."""
    assert in_words(line) == words
