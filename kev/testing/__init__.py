"""Tests of guests with pytest: the fixture `guest`."""
