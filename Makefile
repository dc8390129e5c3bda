# Two commands matter: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= python3
PORT ?= 3000
SERVE ?= 1
SPECTRA ?=
STARS ?= 200
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
VAR := $(CURDIR)/var

export DAGSTER_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

run dev: export DAGSTER_HOME := $(VAR)/dagster
run dev: export ASTRA_DATABASE_PATH := $(VAR)/astra.db
run dev: export ASTRA_SPECTRA := $(SPECTRA)

.DEFAULT_GOAL := help
.PHONY: help run dev test test-slurm test-ui soak lint bench science notebooks docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 8

run: $(VENV)/run.stamp $(VAR)/dagster/dagster.yaml  ## everything once, then the Dagster UI (PORT=3000, SERVE=0, SPECTRA="path/*.fits")
	@$(BIN)/astra materialize --stars $(STARS)
ifneq ($(SERVE),0)
	@exec $(BIN)/astra ui --port $(PORT)
endif

dev: $(VENV)/run.stamp $(VAR)/dagster/dagster.yaml  ## the Dagster UI only (PORT=3000)
	@exec $(BIN)/astra ui --port $(PORT)

test: $(VENV)/test.stamp  ## the tests, on SQLite and PostgreSQL (ASTRA_TEST_POSTGRES=<dsn> for a server of your own)
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slurm: $(VENV)/test.stamp  ## the engine and whole runs on a Slurm of its own; root, and Debian's packages (about 10 minutes)
	ASTRA_SLURM=1 $(BIN)/pytest tests/slurm $(ARGS)

test-ui: $(VENV)/test.stamp  ## the Dagster UI in Chromium, which has to be installed; pictures in var/ui (about 5 minutes)
	ASTRA_UI=1 $(BIN)/pytest tests/ui $(ARGS)

soak: $(VENV)/test.stamp  ## kills, cut connections, silent networks, restarts, writers at once, damaged files, 10,000 runs (about 30 minutes)
	ASTRA_SOAK=1 $(BIN)/pytest tests/faults $(ARGS)
	ASTRA_SOAK=1 $(BIN)/pytest -m campaign --ignore tests/faults $(ARGS)

lint: $(VENV)/lint.stamp  ## style, types, the layers of imports, the complexity of functions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python checks/complexity.py
	$(BIN)/python checks/any_share.py
	$(BIN)/pyright

bench: $(VENV)/bench.stamp  ## the benchmarks
	@set -e; for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

science: $(VENV)/test.stamp  ## what the pipelines recover of known truth, into docs/science.md (about 20 minutes)
	@ASTRA_DATABASE_PATH=:memory: OMP_NUM_THREADS=1 $(BIN)/python -m science --write $(ARGS)

notebooks: $(VENV)/test.stamp  ## run the notebooks of the documentation, and keep what they show
	@$(BIN)/python docs/notebooks/run.py $(ARGS)

docs: $(VENV)/docs.stamp  ## the documentation as a site, in site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove what was made: the environment, the sample survey, the database, the site
	rm -rf $(VENV) var site

# An environment, and in it what each command needs; made once, and again when pyproject.toml has changed.

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing what astra needs (a minute or two)"
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing what the tests need (a minute or two)"
	@$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/lint.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing what the checks need (a minute or two)"
	@$(BIN)/pip install --quiet --editable '.[test,lint]'
	@touch $@ $(VENV)/test.stamp $(VENV)/run.stamp

$(VENV)/bench.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing what the benchmarks need (a minute or two)"
	@$(BIN)/pip install --quiet --editable '.[test,bench]'
	@touch $@ $(VENV)/test.stamp $(VENV)/run.stamp

$(VENV)/docs.stamp: pyproject.toml | $(BIN)/pip
	@echo "installing what the documentation needs (a minute or two)"
	@$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/run.stamp

$(VAR)/dagster/dagster.yaml: dagster.yaml
	@mkdir -p $(@D)
	@cp $< $@
