# Every target installs what it needs first. A machine with Python 3.11+ and make is enough.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install sweep test lint ui bench bench-quick fuzz lock

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed ## make .venv from the lock file

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

sweep: install ## the six-job sweep on the stand-in
	$(BIN)/python -m sweep ordering=increasing,decreasing drop=0.02,0.04,0.10 -m

test: install ## the fast tests
	$(BIN)/python -m pytest

lint: install ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

ui: install ## the MLflow UI on this project's store
	$(BIN)/python -m sweep.ui

bench: install ## time the sweep at the lab's size; options in BENCH, see benchmarks/README.md
	$(BIN)/python benchmarks/bench.py $(BENCH)

bench-quick: install ## the same on 1,000 images a set
	$(BIN)/python benchmarks/bench.py --quick $(BENCH)

lock: ## bring the lock file up to date (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml
