# `make run` and `make test` set everything up by themselves: virtual environment, packages, guests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml hatch_build.py $(shell find rootfs native kev/fs/ -type f -not -name '*.pyc')
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
SECONDS := 60
PYTEST := $(BIN)/pytest --numprocesses=auto --dist=worksteal

# Processes of tests begin by the thousand: each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test quick exhaustive lint collect fuzz bench clean
run: $(VENV)/.installed
	@echo "kev: launching the default guest, as $(BIN)/kev run does"
	@$(BIN)/kev run

test: $(VENV)/.installed-test
	@echo "kev: all tests, on every processor"
	@$(PYTEST)

quick: $(VENV)/.installed-test
	@echo "kev: all tests but those marked slow, on every processor"
	@$(PYTEST) -m "not slow"

exhaustive: $(VENV)/.installed-test
	@echo "kev: all tests, with all examples and cases, on every processor"
	@KEV_EXHAUSTIVE=1 $(PYTEST)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

collect: $(VENV)/.installed-test
	@echo "kev: finding all tests, and keeping the bytecode of all that they import"
	@$(BIN)/pytest --collect-only -qq >$(VENV)/collected || (cat $(VENV)/collected; exit 1)

fuzz: $(VENV)/.installed-test
	@echo "kev: fuzzing parsers, devices and guests, each target for $(SECONDS) seconds"
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

bench: $(VENV)/.installed-test
	$(BIN)/python -m bench

$(BIN)/python:
	@echo "kev: making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	@echo "kev: installing kev and its packages, building the guests of rootfs/ (the first time with a compiler of 130 MB)"
	@$(PIP) --editable .
	@touch $@

# The compiler is one of the tests' packages: it is not installed twice. Of thousands of modules most are never imported: those that
# are, are compiled then.
$(VENV)/.installed-test: $(SOURCES) | $(BIN)/python
	@echo "kev: installing kev, its packages and those of its tests, building the guests of rootfs/ (the first time with a compiler of 130 MB)"
	@$(BIN)/python -c '$(BUILD_REQUIRES)' >$(VENV)/build-requires
	@$(PIP) --no-compile --requirement $(VENV)/build-requires
	@$(PIP) --no-compile --no-build-isolation --editable '.[test]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) kev/data build dist
