# Every target installs what it needs first. A machine with Python 3.11+ and make is enough.
PYTHON ?= python3
BIN := .venv/bin
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --extra dev
.DEFAULT_GOAL := help
.PHONY: help install install-scale sweep test test-ui test-scale lint ui bench bench-quick bench-large fuzz hostile soak lock

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed ## make .venv from the lock file

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

install-scale: .venv/installed-scale ## the same with Slurm's, Ray's and PostgreSQL's clients

.venv/installed-scale: .venv/installed requirements-scale.lock
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-scale.lock
	touch $@

sweep: install ## the six-job sweep on the stand-in
	$(BIN)/python -m sweep ordering=increasing,decreasing drop=0.02,0.04,0.10 -m

test: install ## the fast tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-ui: install ## the browser tests, on Debian's chromium
	@test -x /usr/bin/chromium || test "$$(id -u)" != 0 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	$(BIN)/python -m pytest -m ui tests/test_ui_browser.py

test-scale: install-scale ## sweeps on Slurm, Ray and PostgreSQL, which run for the test (Debian)
	@dpkg --status slurm-wlm munge postgresql >/dev/null 2>&1 || test "$$(id -u)" != 0 || \
		{ apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
		slurm-wlm munge postgresql; }
	$(BIN)/python -m pytest -m scale --timeout=1200 tests/scale

lint: install ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

ui: install ## the MLflow UI on this project's store
	$(BIN)/python -m sweep.ui

fuzz: install ## 2,400 damaged files, 1,500 and 300 random networks, and named ones
	FUZZ_CASES=2400 $(BIN)/python -m pytest -q -s --timeout=3600 tests/test_fuzz.py \
		tests/data/test_formats.py::test_damaged_files_are_refused_or_read
	FUZZ_CASES=1500 $(BIN)/python -m pytest -q -s --timeout=3600 tests/pruning/test_accepted.py
	FUZZ_CASES=300 $(BIN)/python -m pytest -q --timeout=3600 tests/pruning/test_walk.py \
		tests/pruning/test_architectures.py

hostile: install ## open every hostile file, and write what it tried and its refusal to docs/hostile.md
	HOSTILE_PAGE=1 $(BIN)/python -m pytest -q tests/test_hostile.py

soak: install ## 50 kills, 200 short sweeps and searches, crowds and disks in trouble
	SOAK_KILLS=50 $(BIN)/python -m pytest -q -s -m "slow or not slow" --timeout=5400 \
		tests/test_kills.py tests/test_trouble.py

bench: install ## time the sweep at the lab's size; options in BENCH, see benchmarks/README.md
	$(BIN)/python benchmarks/bench.py $(BENCH)

bench-quick: install ## the same on 1,000 images a set
	$(BIN)/python benchmarks/bench.py --quick $(BENCH)

bench-large: install ## a thousand cells in a store of ten thousand runs, and crowds that track at once
	$(BIN)/python benchmarks/large.py $(BENCH)

lock: ## bring the lock files up to date (needs uv)
	$(LOCK) --extra slurm --extra ray --extra postgres --output-file requirements-scale.lock pyproject.toml
	$(LOCK) --constraint requirements-scale.lock --output-file requirements.lock pyproject.toml
