"""Every answer to requests that follow the description, and to those that do not, is one that it promises."""

import pytest

from tests.service.api.malformed import make_requests
from tests.service.api.serving import Server


@pytest.mark.slow
def test_requests_of_the_description_and_beside_it_are_answered_as_it_says(server: Server) -> None:
    server.create("hypercalls", name="there", start=False)
    assert make_requests(server, 100, seed=0) >= 100
    server.clear()
    assert not [event for event in server.events() if event["event"] == "fault"]
