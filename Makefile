# `make run` and `make test` set everything up by themselves: virtual environment, packages, guests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(shell find rootfs hatch_build.py fs -type f -not -name '*.pyc')
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location

.PHONY: run test lint bench clean
run: $(VENV)/.installed
	$(BIN)/kev run

test: $(VENV)/.installed-test
	$(BIN)/pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python -m bench

$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[test]'
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) kev/data build dist
