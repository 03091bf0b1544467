# `make` or `make help` lists what there is. Everything sets itself up: a target that needs the
# environment makes .venv first, exactly as requirements.lock says, and does nothing the next time.
#
# DATASET NETWORK RECIPE SEEDS DEVICE WORKERS LAUNCHER CLUSTER DATA_DIR RESULTS BUDGET UNTIL DECIDE MOST_SEEDS TRACK
# reach every command, from make's command line or from the environment: make ablation-ratio SEEDS=3
# RESULTS is results/local unless it is given; of `paper` results/published, once that holds a study.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
READY := .venv/.installed
SET_UP = $$(command -v python3 || echo uv run --quiet --no-project --python '>=3.11' python) set_up.py
GRIDS := $(basename $(notdir $(wildcard experiments/grids/*.yaml)))
ABLATIONS := $(filter-out budget cifar10 cifar100,$(GRIDS))
CHOSEN := $(if $(filter command,$(firstword $(origin GRIDS))),$(GRIDS),$(ABLATIONS))

.PHONY: help setup upgrade data plan status retry ablations cifar complexity tables figures claims power report paper
.PHONY: browse wandb-sync dashboard sweep cluster-packages cluster-tools site notebook
.PHONY: bench bench-size gpu-check simulate test test-all check-grids soak fuzz lint format clean $(GRIDS:%=ablation-%)

help: ## list what there is
	@echo "make TARGET [DATASET=cifar10] [RECIPE=demo] [SEEDS=1] [NETWORK=resnet29b] [DEVICE=cpu] [WORKERS=2]"
	@echo "            [DATA_DIR=data] [RESULTS=results/local] [BUDGET=8h] [TRACK=off] [GRIDS='ratio gate']"
	@echo "            [UNTIL=0.2] [DECIDE=1] [MOST_SEEDS=30]"
	@echo "            [LAUNCHER=local|slurm|ray] [CLUSTER=my_slurm.yaml]"
	@echo
	@awk -F':.*## ' '/^[a-z%$$][^=]*:.*## / { \
		name = $$1; sub(/^\$$\(.*/, "ablation-NAME", name); printf "  %-15s %s\n", name, $$2 }' Makefile
	@echo
	@echo "  ablation-NAME: $(GRIDS)"

$(GRIDS:%=ablation-%): ablation-%: $(READY) ## train what is missing of one study, then its table and figures
	@$(PYTHON) -m experiments run $*

ablations: $(READY) ## all studies but budget and those of cifar; a run that two share is trained once
	@$(PYTHON) -m experiments run $(ABLATIONS)

cifar: $(READY) ## the paper's networks on CIFAR-10 and CIFAR-100 (Tables 4, 5): for GPUs
	@$(PYTHON) -m experiments run cifar10 cifar100

plan: $(READY) ## what GRIDS would train, what is there, what it costs
	@$(PYTHON) -m experiments plan $(CHOSEN)

status: $(READY) ## the state of every run that was asked for
	@$(PYTHON) -m experiments status

retry: $(READY) ## forget the failures of GRIDS, then train what is missing
	@$(PYTHON) -m experiments retry $(CHOSEN)

data: $(READY) ## fetch, check and prepare a data set: DATASET=cifar10, cifar100 ... (docs/studies.md)
	@$(PYTHON) -m experiments data

complexity: $(READY) ## the cost columns of the paper's tables, counted beside the published ones
	@$(PYTHON) -m experiments complexity

tables: $(READY) ## rebuild every table from the records
	@$(PYTHON) -m analysis tables

figures: $(READY) ## rebuild every figure from the records
	@$(PYTHON) -m analysis figures

claims: $(READY) ## which of the paper's claims the records confirm
	@$(PYTHON) -m analysis claims

power: $(READY) ## how many seeds a difference needs
	@$(PYTHON) -m analysis power

report: $(READY) ## one self-contained page with everything: RESULTS/report.html
	@$(PYTHON) -m analysis report

paper: $(READY) ## all of it from the records alone: of results/published, where there are some
	@$(PYTHON) -m analysis paper

browse: $(READY) ## open the report, also while a grid runs; how to look at what is kept for W&B
	@$(PYTHON) -m analysis browse

wandb-sync: $(READY) ## send W&B what it lacks
	@$(PYTHON) -m experiments wandb-sync

sweep: $(READY) ## write the file of a W&B sweep over the runs of GRIDS
	@$(PYTHON) -m experiments sweep $(CHOSEN)

dashboard: $(READY) ## create or update the dashboard on W&B: a view of each study, and a report
	@$(PYTHON) -m experiments dashboard

test: $(READY) ## the quick tests of every module, in minutes
	@$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow and not cluster"

# One process more than CI has cores: some tests wait for Slurm.
test-all: $(READY) ## every test: whole studies, kills, a browser, and Slurm and Ray where they are
	@$(PYTHON) -m pytest -n 3 --dist loadfile --durations 20

check-grids: $(READY) ## train every row of every grid but budget for a moment (RECIPE=smoke), and rebuild all of it
	@RECIPE=smoke SEEDS=1 NETWORK=auto DATASET=cifar10 $(PYTHON) -m experiments run $(ABLATIONS) cifar10 \
		&& RECIPE=smoke SEEDS=1 NETWORK=auto DATASET=cifar100 $(PYTHON) -m experiments run cifar100 \
		&& RESULTS=$${RESULTS:-results/local} $(PYTHON) -m analysis paper

soak: $(READY) ## kill a grid again and again for MINUTES=5, and compare it with one left alone
	@MINUTES=$(or $(MINUTES),5) $(PYTHON) -m pytest -s tests/system/test_soak.py

fuzz: $(READY) ## damage records, studies, grids, data and notes in EXAMPLES=5000 ways of each kind
	@EXAMPLES=$(or $(EXAMPLES),5000) $(PYTHON) -m pytest tests/system/test_fuzz*.py --timeout 0

bench: $(READY) ## time our loop against the usual one, in ten minutes: benchmarks/RESULTS.md (BENCH=full for more)
	@$(PYTHON) -m benchmarks

bench-size: $(READY) ## measure what 10,000 runs take, in about ten minutes: docs/cluster.md
	@$(PYTHON) -m benchmarks.size

gpu-check: $(READY) ## find out in about ten minutes whether the captured step holds on this GPU: benchmarks/GPU.md
	@$(PYTHON) -m benchmarks.gpu_check

simulate: $(READY) ## simulate what the verdicts get wrong and what DECIDE=1 costs: docs/STATISTICS.md
	@$(PYTHON) -m benchmarks.verdicts

# The types of Slurm's and Ray's launchers can be checked only where their packages are.
lint: $(READY) ## check style, formatting and types
	@$(PYTHON) -c "import ray, submitit" 2>/dev/null || $(MAKE) --no-print-directory cluster-packages
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m pyright

format: $(READY) ## mend style and formatting
	@$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

setup: $(READY) ## make .venv (other targets do it where they need it)

$(READY): requirements.lock
	@$(SET_UP)

cluster-packages: $(READY) ## install what LAUNCHER=slurm and ray need
	@$(SET_UP) requirements-cluster.txt

cluster-tools: cluster-packages ## the same, and what their tests need: as root on Debian also Slurm
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v slurmctld >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq --yes --no-install-recommends slurm-wlm munge >/dev/null; \
	fi

site: $(READY) ## build these pages, the API reference and the report into site/
	@$(SET_UP) requirements-site.txt
	@$(PYTHON) docs/site/build.py

notebook: $(READY) ## open the notebooks
	@$(SET_UP) requirements-notebook.txt
	@PYTHONPATH="$(CURDIR)" $(PYTHON) -m jupyterlab notebooks/explore.ipynb

upgrade: ## renew requirements.lock from the ranges (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
		requirements.txt requirements-dev.txt --output-file requirements.lock

clean: ## delete the environment; results and data stay
	@$(SET_UP) clean
