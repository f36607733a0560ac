"""Requests made up from the OpenAPI document: none brings a 5xx, and answers are what the document says."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import LocalServer

CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
MODES = {"valid": schemathesis.GenerationMode.POSITIVE, "invalid": schemathesis.GenerationMode.NEGATIVE}


def ask_made_up_requests(server: LocalServer, mode: str, examples: int) -> int:
    """How many were asked."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        strategy = operation.as_strategy(generation_mode=MODES[mode])
        if mode == "invalid" and operation.method.upper() == "GET":
            continue  # nothing in it can be wrong

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=strategy)
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=CHECKS, timeout=30)

        ask()
    return asked


@pytest.mark.parametrize("mode", MODES)
def test_made_up_requests_bring_no_server_error(server: LocalServer, mode: str) -> None:
    assert ask_made_up_requests(server, mode, examples=8) >= 20
    assert httpx.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_many_made_up_requests_bring_no_server_error(server: LocalServer, mode: str) -> None:
    assert ask_made_up_requests(server, mode, examples=300) >= 600
    assert httpx.get(f"{server.url}/healthz").status_code == 200
