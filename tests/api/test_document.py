"""The OpenAPI document: valid, complete, and kept by the API that publishes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from control_plane.api.problems import PROBLEMS
from tests.api.server import PRESS, Api
from tests.support.conformance import check_against_document


async def test_the_document_is_valid(api: Api) -> None:
    """OpenAPI 3.1, by the validator of the specification; every problem in it is explained."""
    response, document = await api.call("GET", "/v1/openapi.json", headers={"Authorization": None})
    assert response.status == 200
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    text = str(document)
    assert [slug for slug in PROBLEMS if f"/problems/{slug}`" not in text] == [
        "bad-request",  # what HTTP itself refuses, before there is a route
        "expectation-failed",
        "internal-error",  # a defect
    ]


async def test_what_is_served_is_what_is_documented(api: Api) -> None:
    """Routes and document come from one table."""
    _, document = await api.call("GET", "/v1/openapi.json")
    documented = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    resources = [route for route in api.runner.app.router.routes() if route.method != "HEAD"]
    assert {(route.method, route.resource.canonical) for route in resources if route.resource} == documented


async def test_the_api_keeps_its_document(api: Api, tmp_path: Path) -> None:
    """Schemathesis finds no server error, and nothing that the document does not say."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    await asyncio.to_thread(check_against_document, api.url, api.token, tmp_path)


def test_every_problem_is_in_the_documentation() -> None:
    """docs/api.md lists each type with its status and title."""
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for kind in PROBLEMS.values():
        assert f"| `{kind.path}` | {kind.status} | {kind.title} |" in text
