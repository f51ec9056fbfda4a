# `make run` and `make test` set everything up by themselves: virtual environment, packages, guests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GUEST_SOURCES := $(shell find rootfs hatch_build.py -type f)

.PHONY: run test lint bench clean
run: $(VENV)/.installed
	$(BIN)/kev run

test: $(VENV)/.installed
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m bench

$(VENV)/.installed: pyproject.toml $(GUEST_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) kev/data build dist
