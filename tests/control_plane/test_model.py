"""What people may ask for: each broken rule is named, with its field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from control_plane.config import ControlPlaneConfig
from control_plane.model import SensorSpec

REPLAY = {"kind": "replay", "recording": "machine_temperature", "speed": 300}


def body(**changes: Any) -> dict[str, Any]:
    """Return a good request, changed."""
    good = {
        "id": "press-1",
        "site": "hall-3",
        "metrics": [{"name": "cpu_load", "unit": "%"}, {"name": "disk_read", "unit": "By/s"}],
        "source": {"kind": "machine"},
    }
    return {**good, **changes}


def test_a_good_request_has_defaults() -> None:
    """The lab is the host; equal requests ask for equal VMs."""
    spec = SensorSpec.model_validate(body())
    assert (spec.host, spec.flush_ms) == ("lab", 200)
    assert (
        spec.vm_spec().spec_hash() == SensorSpec.model_validate(body(site="elsewhere")).vm_spec().spec_hash()
    )


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"id": "Press 1"}, ("id",), "must be a DNS label"),
        ({"id": ""}, ("id",), "must be a DNS label"),
        ({"site": "hall.3"}, ("site",), "must be a DNS label"),
        ({"host": "-"}, ("host",), "must be a DNS label"),
        ({"metrics": []}, ("metrics",), "at least 1 item"),
        ({"metrics": [{"name": "1st", "unit": "%"}]}, ("metrics",), "name '1st' must be"),
        ({"metrics": [{"name": "cpu_load", "unit": "a b"}]}, ("metrics",), "unit 'a b' must be a UCUM code"),
        ({"metrics": [{"name": "cpu_load", "unit": "%"}] * 2}, ("metrics",), "twice: cpu_load"),
        ({"metrics": [{"name": "mood", "unit": "1"}]}, (), "must be among cpu_temperature"),
        ({"metrics": [{"name": "cpu_load", "unit": "Cel"}]}, (), "the unit of cpu_load must be '%'"),
        ({"source": REPLAY}, (), "exactly one"),
        ({"source": {"kind": "magic"}}, ("source",), "does not match any of the expected tags"),
        ({"flush_ms": 1}, ("flush_ms",), "greater than or equal to 10"),
        ({"extra": 1}, ("extra",), "not permitted"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], field: tuple[str, ...], rule: str) -> None:
    """The location is the field, the message the rule."""
    with pytest.raises(ValidationError) as raised:
        SensorSpec.model_validate(body(**changes))
    errors = raised.value.errors()
    assert len(errors) == 1
    assert errors[0]["loc"] == field
    assert rule in errors[0]["msg"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"shards": 0}, "greater than or equal to 1"),
        ({"shards": 65}, "less than or equal to 64"),
        ({"xds_port": 70_000}, "less than or equal to 65535"),
        ({"hosts": [{"id": "lab", "url": "ftp://x"}]}, "match pattern"),
        ({"hosts": [{"id": "lab", "url": "http://x"}] * 2}, "twice: lab"),
        ({"surprise": 1}, "not permitted"),
        ({"replica": "Control A", "xds_port": 1}, "replica 'Control A' must be a DNS label"),
        ({"replica": "control-a"}, "xds_port of a replica must not be 0"),
    ],
)
def test_a_bad_configuration_is_refused(changes: dict[str, Any], rule: str) -> None:
    """Before anything is started."""
    good = {"nats_url": "nats://127.0.0.1:4222", "state_dir": "/tmp/a", "token_file": "/tmp/b"}
    with pytest.raises(ValidationError, match=rule):
        ControlPlaneConfig.model_validate({**good, **changes})
