"""The serial port."""
