"""A screen as the registers of a VGA see it."""

from kev.dev.display.screen import ATTRIBUTES_MODE_3, CRT_MODE_3, GRAPHICS_MODE_3, SEQUENCER_MODE_3


class Screen:
    def __init__(self) -> None:
        self.sequencer: bytes | bytearray = SEQUENCER_MODE_3
        self.crt_controller: bytes | bytearray = CRT_MODE_3
        self.graphics_controller: bytes | bytearray = GRAPHICS_MODE_3
        self.attribute_controller: bytes | bytearray = ATTRIBUTES_MODE_3
        self.palette: bytes | bytearray = b""
        self.arranged: list[tuple[bytes, bytes]] = []
        """The sequencer and the graphics controller, as they were whenever memory had to be arranged."""

    def arrange(self) -> None:
        self.arranged.append((bytes(self.sequencer), bytes(self.graphics_controller)))

    @property
    def registers(self) -> tuple[bytes, ...]:
        return tuple(
            map(bytes, (self.sequencer, self.crt_controller, self.graphics_controller, self.attribute_controller, self.palette))
        )
