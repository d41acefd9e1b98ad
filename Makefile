# Each target does its own set-up: Python 3.11+ and make are all that must be there.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
QUIET := --quiet --disable-pip-version-check

.PHONY: serve demo test lint bench docs interop sink lock clean

serve: $(VENV)/.run  ## start the server with its state in ./var
	@exec $(BIN)/postroad serve

demo: $(VENV)/.dev  ## verify a list of 2,000 addresses in a simulated internet, and open the report; about a minute
	@exec $(BIN)/python examples/demo.py

test: $(VENV)/.dev  ## the whole suite; says at the end which real peers were absent
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## formatting, style, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

bench: $(VENV)/.dev  ## measurements against Postfix; needs root and an installed Postfix
	$(BIN)/python -m bench

docs: $(VENV)/.dev  ## write docs/reference/ anew from the code
	$(BIN)/python -m docs.generate

interop: $(VENV)/.dev  ## write docs/reference/interop.md anew from what the tests with real peers show; needs root
	tests/peers/fetch
	POSTROAD_WRITE_INTEROP=1 CI=1 $(BIN)/python -m pytest tests/peers/test_interop_*.py

sink: $(VENV)/.dev  ## a Postfix on port 25 of a host of its own, with DNS that leads to it; needs root (docs/guides/try-it.md)
	@exec $(BIN)/python examples/postfix_sink.py

lock: $(VENV)/.python  ## pin every dependency anew, within the ranges of pyproject.toml
	$(BIN)/python -m pip install $(QUIET) uv
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile $(LOCK) --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-header --upgrade

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Postroad needs Python 3.11 or newer, with its venv module (Debian: python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml requirements/run.txt
	$(BIN)/python -m pip install $(QUIET) --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install $(QUIET) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(BIN)/python -m pip install $(QUIET) --require-hashes -r requirements/dev.txt
	@touch $@

clean:  ## remove what was installed and cached; ./var stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
