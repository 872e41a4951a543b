"""A real Envoy with a small static configuration: one cluster a host, a worker on a Unix socket."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from wire.names import CLUSTER_HEADER, EXT_PROC_CLUSTER, LEASE_HEADER, SENSOR_HEADER, SUBSET_METADATA_KEY

START_TIMEOUT_S = 30.0
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": 65536}},
    }
}


def _typed(name: str, kind: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **fields}}


def _filters() -> list[dict[str, Any]]:
    metadata = _typed(
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=[
            {
                "header": SENSOR_HEADER,
                "on_header_present": {"metadata_namespace": "envoy.lb", "key": SUBSET_METADATA_KEY},
            }
        ],
    )
    ext_proc = _typed(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        failure_mode_allow=False,
        processing_mode={
            "request_header_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            "response_trailer_mode": "SEND",
        },
        grpc_service={
            "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER},
            "initial_metadata": [
                {"key": SENSOR_HEADER, "value": f"%REQ({SENSOR_HEADER})%"},
                {"key": LEASE_HEADER, "value": f"%REQ({LEASE_HEADER})%"},
            ],
        },
    )
    router = _typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    return [metadata, ext_proc, router]


def _listener() -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster_header": CLUSTER_HEADER, "timeout": "0s"}}
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        stream_idle_timeout="0s",
        http_filters=_filters(),
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "gateway", "address": address, "filter_chains": [{"filters": [manager]}]}


def _host(name: str, sensors: Mapping[str, int]) -> dict[str, Any]:
    endpoints = [
        {
            "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
            "metadata": {"filter_metadata": {"envoy.lb": {SUBSET_METADATA_KEY: sensor}}},
        }
        for sensor, port in sensors.items()
    ]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_subset_config": {
            "fallback_policy": "NO_FALLBACK",
            "subset_selectors": [{"keys": [SUBSET_METADATA_KEY], "single_host_per_subset": True}],
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _worker(socket: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": EXT_PROC_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": HTTP2,
        "load_assignment": {"cluster_name": EXT_PROC_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


@dataclass
class StaticEnvoy:
    """An Envoy process; `hosts` maps clusters to their sensors' ports."""

    folder: Path
    socket: Path
    hosts: Mapping[str, Mapping[str, int]]
    url: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    admin: str = ""

    def start(self) -> None:
        """Start it and wait until its listener has a port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        admin_file = self.folder / "admin"
        config = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {
                "listeners": [_listener()],
                "clusters": [*(_host(*host) for host in self.hosts.items()), _worker(self.socket)],
            },
        }
        file = self.folder / "envoy.json"
        file.write_text(json.dumps(config))
        binary = str(files("envoy") / "_bin" / "envoy")
        options = ["--use-dynamic-base-id", "--concurrency", "1", "--admin-address-path", str(admin_file)]
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = subprocess.Popen(
                [binary, "-c", str(file), *options], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._live(admin_file):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"envoy did not start: {(self.folder / 'envoy.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _live(self, admin_file: Path) -> bool:
        if not admin_file.exists() or not admin_file.read_text():
            return False
        self.admin = f"http://{admin_file.read_text()}"
        try:
            with urllib.request.urlopen(f"{self.admin}/listeners?format=json", timeout=2) as answer:
                listeners = json.loads(answer.read()).get("listener_statuses", [])
        except urllib.error.URLError:
            return False
        if not listeners:
            return False
        port = listeners[0]["local_address"]["socket_address"]["port_value"]
        self.url = f"http://127.0.0.1:{port}"
        return True

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
