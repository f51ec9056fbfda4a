"""What the operations work on."""

import attrs
import trio

from kev.service.api.events import Events
from kev.service.machines.registry import Registry


@attrs.define
class Service:
    """One service: its machines, and who listens to them."""

    registry: Registry
    events: Events
    stopping: trio.Event = attrs.field(factory=trio.Event)
    """Streams come to their end."""
    requests: int = 0
    """That are being answered, streams among them."""
