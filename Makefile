# `make` or `make help` lists what there is. Everything sets itself up: a target that needs the
# environment makes .venv first, exactly as requirements.lock says, and does nothing the next time.
#
# DATASET NETWORK RECIPE SEEDS DEVICE WORKERS DATA_DIR RESULTS BUDGET UNTIL reach every command, from
# make's command line or from the environment: make ablation-ratio DATASET=cifar100 SEEDS=3

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
READY := .venv/.installed
GRIDS := $(basename $(notdir $(wildcard experiments/grids/*.yaml)))
ABLATIONS := $(filter-out cifar10 cifar100,$(GRIDS))

.PHONY: help setup upgrade data plan status retry ablations complexity tables figures test test-fast soak lint format clean
.PHONY: $(ABLATIONS:%=ablation-%)

help: ## list what there is
	@echo "make TARGET [DATASET=cifar10] [RECIPE=demo] [SEEDS=1] [NETWORK=resnet29b] [DEVICE=cpu] [WORKERS=2]"
	@echo "            [DATA_DIR=data] [RESULTS=results/local] [BUDGET=8h] [UNTIL=0.2] [GRIDS='ratio gate']"
	@echo
	@awk -F':.*## ' '/^[a-z%$$][^=]*:.*## / { \
		name = $$1; sub(/^\$$\(.*/, "ablation-NAME", name); printf "  %-15s %s\n", name, $$2 }' Makefile
	@echo
	@echo "  ablation-NAME: $(ABLATIONS)"

$(ABLATIONS:%=ablation-%): ablation-%: $(READY) ## train what is missing of one study, then its table and figures
	@$(PYTHON) -m experiments run $*

ablations: $(READY) ## the same for all of these studies; a run that two of them share is trained once
	@$(PYTHON) -m experiments run $(ABLATIONS)

plan: $(READY) ## what GRIDS would train, what is there, what it costs
	@$(PYTHON) -m experiments plan $(GRIDS)

status: $(READY) ## the state of every run that was asked for
	@$(PYTHON) -m experiments status

retry: $(READY) ## forget the failures of GRIDS, then train what is missing
	@$(PYTHON) -m experiments retry $(GRIDS)

data: $(READY) ## fetch, check and prepare a data set: DATASET=cifar10, cifar100 or synthetic
	@$(PYTHON) -m experiments data

complexity: $(READY) ## the cost columns of the paper's tables, counted beside the published ones
	@$(PYTHON) -m experiments complexity

tables: $(READY) ## rebuild every table from the records
	@$(PYTHON) -m analysis tables

figures: $(READY) ## rebuild every figure from the records
	@$(PYTHON) -m analysis figures

test: $(READY) ## every test, in about six minutes on two cores
	@$(PYTHON) -m pytest -n 2 --dist worksteal

test-fast: $(READY) ## the tests that train nothing
	@$(PYTHON) -m pytest -m "not slow"

soak: $(READY) ## kill a grid again and again for MINUTES=5, and compare it with one left alone
	@MINUTES=$(or $(MINUTES),5) $(PYTHON) -m pytest -s tests/test_soak.py

lint: $(READY) ## check style and formatting
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

format: $(READY) ## mend style and formatting
	@$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

setup: $(READY) ## make .venv (implied by every other target)

$(READY): requirements.lock
	@if command -v uv >/dev/null; then \
		echo "setting up .venv with uv (about half a minute)"; \
		uv venv --quiet --clear --python '>=3.11' .venv && \
		uv pip sync --quiet --python $(PYTHON) requirements.lock; \
	else \
		echo "setting up .venv with pip (a minute or two)"; \
		python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: python3 is " + sys.version)' && \
		python3 -m venv --clear .venv && \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock; \
	fi
	@touch $@

upgrade: ## renew requirements.lock from the ranges (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
		requirements.txt requirements-dev.txt --output-file requirements.lock

clean: ## delete the environment; results and data stay
	rm -rf .venv
