"""The services of a PC's BIOS, for code in real mode: a ROM of interrupt handlers that exit, and what is done about it."""
