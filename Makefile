# The commands of this project. `make` alone lists them; ARGS="..." passes more options on.

# A machine without a GPU takes torch from here, so that no CUDA packages are downloaded.
# A torch wheel that pip finds locally wins; if the index does not answer, pip's own is used.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# A test process per core. Tests of one file share what its fixtures made; but a few files have most
# of the families' tests, and there a process that is done early takes over. Ray and a browser fill
# all cores with one test.
PROCESSES := --numprocesses auto --maxprocesses 8

.PHONY: help setup search test test-marked test-all test-gpu newest check docs base models bench bench-gpu

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: .venv/.ready ## make .venv with everything this project needs

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "perft needs Python 3.11 or newer, with its venv module; found" \
		"$$(python3 --version 2>&1). Install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@command -v nvidia-smi >/dev/null || [ "$$(uname -s)" != Linux ] \
		|| $(BIN)/python -c 'import torch' 2>/dev/null \
		|| $(PIP) -q --no-deps --no-index torch 2>/dev/null \
		|| $(PIP) -q --no-deps --retries 1 --timeout 15 --index-url $(TORCH_CPU_INDEX) torch 2>/dev/null \
		|| echo "No CPU build of torch at hand: pip's usual one follows, with its CUDA packages."
	@echo "Installing the packages of constraints.txt into .venv, a minute or two ..."
	@$(PIP) -q -e ".[dev]"
	@touch $@

search: setup ## run a search on the built-in base, ending with the Pareto table
	$(BIN)/python jobs/search.py --space arithmetic $(ARGS)

test: setup ## run the fast tests, on all cores
	$(BIN)/python -m pytest $(PROCESSES) --dist loadfile $(ARGS)

test-marked: setup ## run the tests that need Ray, a browser, several ranks or more time
	$(BIN)/python -m pytest $(PROCESSES) --dist worksteal -m "(families or multi_rank or slow) and not (ray or browser)" $(ARGS)
	$(BIN)/python -m pytest -m "ray or browser" $(ARGS)

test-all: test test-marked ## run every test that needs no GPU

test-gpu: setup ## run the tests that need a GPU, some five minutes on one card
	$(BIN)/python -m pytest -m gpu tests/gpu tests/models/test_capture.py tests/evaluation/test_fixed.py $(ARGS)

newest: ## run the fast tests on the newest versions that pip finds, in .venv-newest
	PYTHON="$(PYTHON)" TORCH_CPU_INDEX="$(TORCH_CPU_INDEX)" .ci/newest $(ARGS)

check: setup ## lint, format, types, import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup ## build the site of documents in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml
	@echo "open build/site/index.html"

base: setup ## rebuild the built-in base from its seeded text
	$(BIN)/python -m perft.models.pretrain --out perft/models/builtin --seed 0

models: setup ## list the supported model families in docs/models.md again
	$(BIN)/python -m perft.injection.catalogue > docs/models.md

bench: setup ## compare one search with the stock way of running it
	$(BIN)/python benchmarks/search_makespan.py $(ARGS)

bench-gpu: setup ## measure packs, generation and a whole search on one GPU
	$(BIN)/python benchmarks/gpu_pack.py $(ARGS)
	$(BIN)/python benchmarks/gpu_generate.py $(ARGS)
	$(BIN)/python benchmarks/gpu_search.py $(ARGS)
