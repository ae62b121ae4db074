# Two commands matter: `make demo` (see the river run) and `make test` (check everything).
# Needed on the machine: Python 3.11 or later, make, and a way to the package registries.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?=
CHAOS ?=
PYTEST ?= -n 4 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint servers bench bench-quick chaos chaos-quick docs requirements clean

help:  ## say what each command does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

setup: $(STAMP)  ## make or refresh .venv with everything that Écluse needs

$(STAMP): requirements/dev.txt pyproject.toml $(wildcard gateway/kernel/*.pyx)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Écluse needs Python 3.11 or later; name one with: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Écluse needs into $(VENV) (a minute or two the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## the whole river on this machine: broker, gateway, simulated city, status page
	@$(BIN)/ecluse demo $(DEMO)

test: setup servers lint  ## everything: style, types, architecture, and tests against real servers
	@$(BIN)/python -m pytest $(PYTEST)

lint: setup  ## style, types and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

servers:  ## the Debian packages that the integration tests need, where root and apt are there
	@sh tests/install_servers.sh

bench: setup servers  ## measure all of it in half an hour: build/bench/latest.md (a quiet machine, 2 cores)
	@$(BIN)/python -m tests.benchmarks.run

bench-quick: setup servers  ## measure the headline, QoS 0 and the stages in under 2 minutes
	@$(BIN)/python -m tests.benchmarks.run --quick

chaos: setup servers  ## hurt a gateway in every way, and hold what is stored against a ledger: half an hour
	@$(BIN)/python -m tests.chaos.run $(CHAOS)

chaos-quick: setup servers  ## the same in under 2 minutes (part of `make test`)
	@$(BIN)/python -m tests.chaos.run --quick $(CHAOS)

docs: setup  ## the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

requirements: setup  ## pin and hash the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --universal --upgrade \
	  --python-version 3.11 --no-header --quiet --output-file requirements/dev.txt

clean:  ## remove what was made here
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
