"""Unicorn's emulated AMD-V with nested paging: the default engine. All knowledge of Unicorn lives here."""
