"""The API of a running installation, held against its own OpenAPI document."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running Gaugeway without sensors."""
    stack = Stack(tmp_path_factory.mktemp("api"))
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def test_the_document_is_openapi_3_1(stack: Stack) -> None:
    """/v1/openapi.json is a valid OpenAPI 3.1 document; reading it needs no token."""
    with urllib.request.urlopen(stack.info["api_url"] + "/v1/openapi.json", timeout=10) as response:
        document = json.load(response)
    assert document["openapi"].startswith("3.1.")
    validate(document)


@pytest.mark.timeout(300)
def test_generated_requests_meet_no_server_error(stack: Stack, tmp_path: Path) -> None:
    """Schemathesis finds no server error and nothing that the document does not say."""
    run = subprocess.run(
        [
            sys.executable,
            str(Path(sysconfig.get_path("scripts")) / "schemathesis"),
            "run",
            stack.info["api_url"] + "/v1/openapi.json",
            f"--header=Authorization: Bearer {stack.token()}",
            "--exclude-path-regex=^/v1/live/",  # these streams do not end
            "--phases=examples,coverage,fuzzing",
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,"
            "response_schema_conformance",
            "--max-examples=15",
            "--seed=1",
            "--generation-deterministic",
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
