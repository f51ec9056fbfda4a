"""Operations that say how the service is."""

from http import HTTPStatus
from typing import Any, Final

import attrs
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from kev.service.api.call import Call
from kev.service.api.kinds import answer
from kev.service.api.operation import Answer, Operation, bytes_response, json_response
from kev.service.errors import ShuttingDown
from kev.version import __version__

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}


async def show_service(call: Call) -> Response:
    registry = call.service.registry
    return json_response(
        {
            "kev": __version__,
            "api": "v1",
            "limits": attrs.asdict(registry.limits),
            "machines": len(registry.living),
            "running": registry.running,
            "images": list(registry.files.folders),
        }
    )


async def show_metrics(call: Call) -> Response:
    return bytes_response(call.service.metrics.text(), CONTENT_TYPE_LATEST)


async def health(_call: Call) -> Response:
    return json_response({"status": "ok"})


async def readiness(call: Call) -> Response:
    if call.service.registry.closing:
        raise ShuttingDown("the service is about to end")
    return json_response({"status": "ready"})


def _status(name: str, path: str, summary: str, handler: Any, *problems: HTTPStatus) -> Operation:
    answers = (Answer(summary, answer(status=_TEXT)),)
    return Operation(name, "GET", path, summary, handler, answers, problems, needs_token=False, tag="service")


OPERATIONS: Final = (
    Operation(
        "show_service",
        "GET",
        "/v1",
        "The version, the limits, and how much there is.",
        show_service,
        (
            Answer(
                "The service.",
                answer(
                    kev=_TEXT,
                    api=_TEXT,
                    limits={"type": "object"},
                    machines=_NUMBER,
                    running=_NUMBER,
                    images={"type": "array", "items": _TEXT},
                ),
            ),
        ),
        tag="service",
    ),
    Operation(
        "show_metrics",
        "GET",
        "/metrics",
        "Metrics for Prometheus, and whatever else reads OpenMetrics.",
        show_metrics,
        (Answer("Metrics.", _TEXT, CONTENT_TYPE_LATEST.partition(";")[0]),),
        tag="service",
    ),
    _status("health", "/healthz", "The service answers.", health),
    _status("readiness", "/readyz", "The service takes machines.", readiness, HTTPStatus.SERVICE_UNAVAILABLE),
)
