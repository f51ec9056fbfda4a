"""What is published of the service: its API's description, and its metrics."""

import json
import re
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kev.service.api.app import OPERATIONS
from kev.spec.fields import FIELDS
from kev.version import __version__
from tests.service.api.serving import Server


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = server.client.get("/openapi.json").json()
    return document


def test_every_operation_is_described_with_its_answers_and_its_problems(description: dict[str, Any]) -> None:
    assert (description["openapi"], description["info"]["version"]) == ("3.1.0", __version__)
    described = {
        (method.upper(), path): operation for path, methods in description["paths"].items() for method, operation in methods.items()
    }
    assert described.keys() == {(operation.method, operation.path) for operation in OPERATIONS}
    for (_, path), operation in described.items():
        assert operation["summary"]
        assert any(status.startswith("2") for status in operation["responses"])
        assert {"401", "403", "500"} <= operation["responses"].keys()
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))
        assert ("404" in operation["responses"]) or not named


def test_every_field_of_a_machine_is_described_by_all_its_names(description: dict[str, Any]) -> None:
    spec = description["paths"]["/v1/machines"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"][
        "spec"
    ]
    for field in FIELDS:
        assert {field.name, *(option[2:].replace("-", "_") for option in field.options if option[:2] == "--")} <= spec[
            "properties"
        ].keys()
    assert "image" in spec["properties"]


def test_references_lead_somewhere(description: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(description)):
        assert reference in description["components"]["schemas"]


def test_metrics_are_openmetrics_and_count_what_happens(server: Server) -> None:
    def samples() -> dict[str, float]:
        answer = server.client.get("/metrics")
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        return {
            sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
            for sample in family.samples
        }

    before = samples()
    machine = server.create("gKeOS")["id"]
    server.client.post(f"/v1/machines/{machine}/stop")
    server.output(machine)
    after = samples()
    report = server.client.get(f"/v1/machines/{machine}/report").json()
    assert after["kev_violations_total"] - before["kev_violations_total"] == report["violations"]
    assert after["kev_pages_loaded_total"] - before["kev_pages_loaded_total"] == report["pages_loaded"]
    assert after["kev_page_load_seconds_count"] - before["kev_page_load_seconds_count"] > 0
    assert after["kev_exits_total EptViolation"] - before.get("kev_exits_total EptViolation", 0) == report["exits"]["EptViolation"]
    assert after["kev_machines ended"] - before["kev_machines ended"] == 1
    assert after["kev_machines_made_total"] - before["kev_machines_made_total"] == 1
    assert after["kev_request_seconds_count create_machine 201"] > 0
    assert after["kev_requests_open"] == 1
