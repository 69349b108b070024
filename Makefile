# Each target does everything that it needs, in the virtual environment .venv.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# A worker for each core, as long as they fit into memory: up to 3 GB each.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=worksteal

.PHONY: help scale_sweep quick test lint test-lowest docs linkcheck package clean
.DEFAULT_GOAL := help

help:
	@echo "make scale_sweep [ARGS=\"--divisors=1,255\"]   run the main experiment"
	@echo "make quick                                   lint, types and quick tests"
	@echo "make test                                    lint, types and all tests"
	@echo "make test-lowest                             tests with the oldest versions"
	@echo "make docs                                    docs/_build/html/index.html"
	@echo "make package                                 wheel and sdist, installed and tried"
	@echo "make clean                                   remove the environments"

.venv/made: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/made-dev: requirements-dev.txt requirements-docs.txt requirements-workers.txt \
  .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-dev.txt
	touch $@

scale_sweep: .venv/made
	$(BIN)/python -m experiments.scale_sweep $(ARGS)

lint: .venv/made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test: lint
	$(BIN)/python -m pytest $(PARALLEL) --durations=10 $(ARGS)

test-lowest: requirements-dev.txt constraints-lowest.txt
	$(PYTHON) -m venv .venv/lowest
	.venv/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-dev.txt -c constraints-lowest.txt
	XLA_FLAGS= .venv/lowest/bin/python -m pytest $(PARALLEL) $(ARGS)

.venv/made-docs: requirements-docs.txt .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-docs.txt
	touch $@

docs: .venv/made-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet \
	  docs docs/_build/html

linkcheck: .venv/made-docs
	$(BIN)/python -m sphinx --quiet --builder linkcheck \
	  --define nb_execution_mode=off docs docs/_build/linkcheck

package: .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build twine uv
	$(BIN)/python -m benchmarks.package

clean:
	rm -rf .venv
