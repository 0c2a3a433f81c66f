# make setup, demo, test, check, bench, torture; `make lock` renews requirements.txt.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench torture lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: .venv/.installed ## install everything, hash-checked, into .venv

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	@# As constraints as well: else older pips take the newest release for what is asked for with extras.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements.txt -c requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## run a campaign of 1,000 contacts against the sandbox and show its report
	$(BIN)/clarion demo

test: setup ## run the whole test suite
	@# What shares a server together; and last, on a quiet machine, what measures rates in real time.
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not alone"
	$(BIN)/python -m pytest -m alone

check: setup ## format, lint, types and import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check
	$(BIN)/lint-imports

format: setup ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## measure, as ratios inside one run (bench/README.md)
	$(BIN)/python -m bench

torture: setup ## kill runs 100 times and hold what they did against the provider (some 20 minutes)
	$(BIN)/python -m bench.torture

lock: ## renew requirements.txt from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --output-file requirements.txt

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
