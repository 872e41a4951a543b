"""The bootstrap: a golden file, and what the real Envoy thinks of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from envoy_bootstrap.__main__ import main
from envoy_bootstrap.binary import envoy_binary
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "address": BootstrapConfig(
        node_id="node-1", xds_host="127.0.0.1", xds_port=18000, ext_proc_socket="/run/gaugeway/worker.sock"
    ),
    "name": BootstrapConfig(
        node_id="node-2",
        xds_host="control.example.com",
        xds_port=443,
        ext_proc_socket="/run/gaugeway/worker.sock",
        admin_port=9901,
        gateway_port=10000,
    ),
    "sotw": BootstrapConfig(
        node_id="node-4",
        xds_host="127.0.0.1",
        xds_port=18000,
        xds_variant="sotw",
        ext_proc_socket="/run/gaugeway/worker.sock",
    ),
    "ipv6": BootstrapConfig(node_id="node-3", xds_host="::1", xds_port=18000, ext_proc_socket="/w.sock"),
    "replicas": BootstrapConfig(
        node_id="node-4",
        xds_host="10.0.0.1",
        xds_port=18000,
        xds_others=("10.0.0.2:18000", "[fd00::3]:18001"),
        ext_proc_socket="/w.sock",
    ),
    "named-replicas": BootstrapConfig(
        node_id="node-5",
        xds_host="10.0.0.1",
        xds_port=18000,
        xds_others=("control-b.example.com:18000",),
        ext_proc_socket="/w.sock",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_bootstrap_is_the_golden_one(case: str) -> None:
    """Set UPDATE_GOLDEN=1 to write it anew after a change that is meant."""
    golden = GOLDEN / f"{case}.json"
    text = build_bootstrap(CASES[case])
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts_the_golden_bootstrap(case: str) -> None:
    """`--mode validate` loads everything that is static, with all extensions."""
    checked = validate(GOLDEN / f"{case}.json")
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()


def test_envoy_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """So that the test above says something."""
    bootstrap = json.loads((GOLDEN / "address.json").read_text())
    bootstrap["static_resources"]["clusters"][0]["conect_timeout"] = "2s"
    (tmp_path / "wrong.json").write_text(json.dumps(bootstrap))
    checked = validate(tmp_path / "wrong.json")
    assert checked.returncode != 0
    assert "conect_timeout" in checked.stderr


def validate(config: Path) -> subprocess.CompletedProcess[str]:
    """Have Envoy validate a bootstrap."""
    command = [
        str(envoy_binary()),
        "--mode",
        "validate",
        "--config-path",
        str(config),
        "--use-dynamic-base-id",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node_id", "Node 1"),
        ("node_id", ""),
        ("xds_host", ""),
        ("xds_port", 0),
        ("xds_port", 65_536),
        ("xds_variant", "rest"),
        ("ext_proc_socket", "/" + "x" * 107),
        ("ext_proc_socket", "/" + "ü" * 54),
        ("gateway_port", -1),
        ("xds_others", ["control-b"]),
        ("xds_others", ["control-b:0"]),
        ("admin", 1),
    ],
)
def test_what_envoy_could_not_use_is_refused(field: str, value: object) -> None:
    """The error names the field."""
    fields = CASES["address"].model_dump() | {field: value}
    with pytest.raises(ValidationError, match=field):
        BootstrapConfig.model_validate(fields)


def test_the_longest_socket_path_there_is_is_taken() -> None:
    """107 bytes."""
    fields = CASES["address"].model_dump() | {"ext_proc_socket": "/" + "x" * 106}
    assert BootstrapConfig.model_validate(fields).ext_proc_socket.endswith("x")


def test_the_command_prints_a_bootstrap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or from stdin; what is no good is said, with exit code 2."""
    config = CASES["replicas"].model_dump_json()
    file = tmp_path / "node.json"
    file.write_text(config)
    assert main(["--config", str(file)]) == 0
    assert capsys.readouterr().out == (GOLDEN / "replicas.json").read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(config))
    assert main(["--config", "-"]) == 0
    assert capsys.readouterr().out == (GOLDEN / "replicas.json").read_text()
    file.write_text('{"node_id": "node-1"}')
    assert main(["--config", str(file)]) == 2
    assert "xds_host" in capsys.readouterr().err
