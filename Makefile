# Two commands matter: `make demo` and `make test`. Both set up what they need, from a fresh clone
# with only Python >= 3.11; a second run starts in seconds.

PYTHON ?= python3
# A worker for each core and one more, for tests of processes wait about as much as they compute. A
# file stays on one worker, for its tests may share an engine. In the order of their folders: the
# long ones are begun before the many short ones, and no core waits at the end.
WORKERS := $(shell echo $$(( $$(nproc) + 1 )))
PYTEST_ARGS ?= -n $(WORKERS) --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
# uv is told nothing about indexes: it uses the machine's own configuration.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
STAMPS := $(VENV)/.stamps

.PHONY: help setup demo demo-cluster test test-all chaos fuzz-models check coverage bench format clean

help:
	@echo "make demo    the whole loop on real data: train, deploy, predict (about a minute)"
	@echo "make demo-cluster  the same loop on a Ray cluster, PostgreSQL and an object store"
	@echo "make test    every test but those that show once more what another shows"
	@echo "make test-all  those too: every old trainer on each of its runtimes, and the like"
	@echo "make chaos   kill processes of an engine 10,000 times (MLENGINE_KILLS, MLENGINE_SEED)"
	@echo "make fuzz-models  open 10,000 damaged files of each model format (MLENGINE_MUTANTS)"
	@echo "make check   linter, types, layers, docs"
	@echo "make coverage  branch coverage of core, store, storage and training, at least 95 %"
	@echo "make bench   the benchmarks, each against a peer or a floor in the same run"
	@echo "make setup   only make .venv with all that the tests need"

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlengine needs Python >= 3.11; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Making $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements/demo.txt)"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo: requirements/demo.txt pyproject.toml $(wildcard src/mlengine/runtime/speedups/*.[ch]) $(STAMPS)/venv
	@echo "Installing what the demo needs ..." >&2
	@$(UV) -r requirements/demo.txt
	@$(UV) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/demo
	@echo "Installing what the tests need (TensorFlow is the large one) ..." >&2
	@$(UV) -r requirements/dev.txt
	@touch $@

setup: $(STAMPS)/dev

demo: $(STAMPS)/demo
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python scripts/demo.py

# The same loop on Ray, PostgreSQL and an object store, all started by it; needs the two cores.
demo-cluster: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m scripts.demo_cluster

test: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q $(PYTEST_ARGS)

test-all: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q $(PYTEST_ARGS) --all

# Hours. The seed is printed; MLENGINE_SEED repeats it.
MLENGINE_KILLS ?= 10000
chaos: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= MLENGINE_KILLS=$(MLENGINE_KILLS) $(BIN)/python -m pytest -q -s \
		tests/faults/test_engine_kills.py tests/faults/test_failpoints.py

fuzz-models: $(STAMPS)/dev
	MLENGINE_MUTANTS=$${MLENGINE_MUTANTS:-10000} $(BIN)/python -m pytest -q -s -p no:xdist \
		tests/conformance/frameworks/test_damage.py

check: $(STAMPS)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check src tests scripts benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_docs.py

# The rooms whose rules must not be wrong, by their own tests alone, branches included.
COVERED := core store storage training
coverage: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 tests/unit/core tests/unit/store \
		tests/conformance/store tests/unit/storage tests/conformance/storage tests/unit/training \
		tests/conformance/launchers tests/security/test_paths.py tests/security/test_archives.py \
		$(COVERED:%=--cov=mlengine.%) --cov-branch --cov-report=term:skip-covered --cov-fail-under=95

format: $(STAMPS)/dev
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format src tests scripts benchmarks

bench: $(STAMPS)/dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m benchmarks.training
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m benchmarks.prediction
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m benchmarks.distributed

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
