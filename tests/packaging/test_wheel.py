"""The wheel as users get it: what it holds, and that it runs outside the repository."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import alive, family
from tests.support.stack import wait_for

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


def uv(*arguments: object, cwd: Path = ROOT) -> str:
    """Run the project's uv; return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "environment.py", "--uv", *map(str, arguments)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `make build` does."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--quiet", "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the commands of a fresh environment with the wheel and the locked dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    locked = folder / "locked.txt"
    uv("export", "--frozen", "--no-dev", "--no-emit-project", "--quiet", "--output-file", locked)
    uv("venv", "--quiet", "--no-project", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, "--requirements", locked, cwd=folder)
    uv("pip", "install", "--quiet", "--no-deps", "--python", python, wheel, cwd=folder)
    yield python.parent
    shutil.rmtree(folder / "venv")  # some 700 MB


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Top-level packages, their data files, the licence; no tests, no caches."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    packages = {"wire", "envoy_bootstrap", "hyperv", "ext_proc", "control_plane", "gaugeway"}
    assert top == {*packages, f"gaugeway-{version}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".proto"))]
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    expected = {"machine_temperature.csv.gz", "ambient_temperature.csv.gz", "NAB-LICENSE.txt"}
    assert expected <= {name.rpartition("/")[2] for name in names if name.startswith("hyperv/recordings/")}
    assert [name for name in names if name.startswith("control_plane/console/") and not name.endswith(".py")]
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


@pytest.mark.timeout(300)
def test_the_installed_product_runs_and_ends_without_a_trace(installed: Path, tmp_path: Path) -> None:
    """`gaugeway version`, then `gaugeway up` to readiness; SIGINT ends every process that it started."""
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    gaugeway = installed / "gaugeway"
    version = subprocess.run(
        [gaugeway, "version", "--json"], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert json.loads(version.stdout)["version"]

    ready, log = tmp_path / "ready.json", tmp_path / "up.log"
    ports = [f"--{name}-port=0" for name in ("api", "xds", "envoy-admin", "gateway", "nats")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [gaugeway, "up", "--no-demo", "--ready-file", ready, *ports],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def is_ready() -> dict[str, Any] | None:
        assert process.poll() is None, log.read_text()
        return json.loads(ready.read_text()) if ready.exists() else None

    try:
        info = wait_for("it is ready", is_ready, START_TIMEOUT_S)
        everyone = family(process.pid)
        assert set(info["pids"].values()) <= set(everyone)
        status = subprocess.run(
            [gaugeway, "status", "--json"], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
        assert json.loads(status.stdout)["sensors"]["total"] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0, log.read_text()
        assert alive(everyone) == []
    finally:
        process.kill()
        process.wait()
