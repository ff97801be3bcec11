# Thriftune. `make help` lists every target from the comment beside it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.thriftune-stamp
JOBS ?= 2
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export KEDRO_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup lint format test test-unit lock lock-check clean

help:  ## list every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

# Stale means: the hash of pyproject.toml and requirements.txt is not the one recorded inside .venv.
setup:  ## make .venv from the lock, where it is missing or stale
	@wanted=$$(cat pyproject.toml requirements.txt | sha256sum | cut -d' ' -f1); \
	if [ "$$(cat $(STAMP) 2>/dev/null)" != "$$wanted" ]; then \
	  echo "setting up $(VENV) from requirements.txt ..."; \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e . && \
	  echo "$$wanted" > $(STAMP); \
	fi

lint: setup  ## ruff, mypy --strict and the rules of who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## lint, unit and integration tests, coverage floor
	rm -f .coverage .coverage.*
	$(BIN)/pytest -m "not slow and not docker and not postgres" -n $(JOBS) --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --fail-under=95

test-unit: setup  ## unit tests alone, no coverage
	$(BIN)/pytest -m unit -n $(JOBS) -q

# Keeps every pin that still satisfies pyproject.toml; only UPGRADE=1 moves them. No hashes: the
# usual build of torch pins CUDA packages that a CPU build has not.
LOCK = $(BIN)/pip-compile --quiet --no-header --strip-extras --extra dev --allow-unsafe \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --no-annotate \
  --resolver=backtracking pyproject.toml
lock: setup  ## write requirements.txt from pyproject.toml (UPGRADE=1 moves the pins)
	$(LOCK) $(if $(UPGRADE),--upgrade) --output-file requirements.txt
	sed -i -E 's/^(torch==[0-9.]+)\+.*/\1/' requirements.txt

lock-check: setup  ## fail where requirements.txt has drifted from pyproject.toml
	@mkdir -p build && cp requirements.txt build/requirements.txt
	$(LOCK) --output-file build/requirements.txt
	@sed -i -E 's/^(torch==[0-9.]+)\+.*/\1/' build/requirements.txt
	@diff -u requirements.txt build/requirements.txt || { echo "requirements.txt has drifted: run make lock"; exit 1; }

clean:  ## remove caches and build output; never anything under data/
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* .viz
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
