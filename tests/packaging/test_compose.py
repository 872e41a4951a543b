"""The container files say what the product takes; they cannot be run where no image can be had."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from gaugeway.cli.app import app

ROOT = Path(__file__).parents[2]


def compose() -> dict[str, Any]:
    """Return compose.yaml."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def test_compose_runs_the_one_machine_product() -> None:
    """A volume for the data, the API's port on loopback, the Dockerfile of this repository."""
    document = compose()
    assert set(document) == {"services", "volumes"}
    service = document["services"]["gaugeway"]
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["volumes"] == ["data:/data"]
    assert "data" in document["volumes"]
    assert service["ports"] == ["127.0.0.1:8480:8480"]


@pytest.mark.parametrize("source", ["compose.yaml", "deploy/Dockerfile"])
def test_the_container_runs_a_command_that_there_is(source: str) -> None:
    """`gaugeway up` accepts every option that the container gives it."""
    if source == "compose.yaml":
        command = compose()["services"]["gaugeway"]["command"]
    else:
        found = re.search(r"^CMD \[(.+)\]$", (ROOT / source).read_text(), re.MULTILINE)
        assert found
        command = re.findall(r'"([^"]+)"', found[1])
    assert command[0] == "up"
    up = get_command(app).commands["up"]  # type: ignore[attr-defined]
    known = {option for parameter in up.params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= known
    assert command[command.index("--data-dir") + 1] == "/data"


def test_the_image_holds_what_the_wheel_holds() -> None:
    """What the build may see has every package, and what pyproject.toml names beside them."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    seen = {line[1:] for line in ignored if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages <= seen
    assert {"pyproject.toml", "uv.lock", project["project"]["readme"], "LICENSE"} <= seen


def test_one_version_of_uv() -> None:
    """The Dockerfile brings the uv that the Makefile brings."""
    pinned = re.search(r'UV_VERSION = "(.+)"', (ROOT / "scripts" / "environment.py").read_text())
    assert pinned
    assert f"uv=={pinned[1]}" in (ROOT / "deploy" / "Dockerfile").read_text()
