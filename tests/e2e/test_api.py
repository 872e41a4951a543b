"""The API of a running installation, held against its own OpenAPI document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.conformance import check_against_document
from tests.support.stack import Stack


@pytest.mark.timeout(300)
def test_generated_requests_meet_no_server_error(stack: Stack, tmp_path: Path) -> None:
    """No server error, and nothing that the document does not say, with everything real behind the API."""
    check_against_document(stack.info["api_url"], stack.token(), tmp_path, examples=20)
