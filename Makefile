# Two commands do everything on a fresh machine: `make demo` and `make test`.
# The environment is made once, in .venv; it is brought up to date only when pyproject.toml changes.

PYTHON ?= python3
WORKERS ?= 2
CALLS ?= 1000000  # of `make sanitize`
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(shell find src -name '*.py' -o -name '*.toml' -path '*/recipes/*')

# The versions with which the project is tested; pyproject.toml says which others are allowed.
TORCH := torch==2.14.1 torchvision==0.29.1

# One thread per test worker: two workers on two cores would otherwise wait for each other.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

# Tests that compute something which has a fast path; tests/acceleration sets the switch by itself.
PLAIN := tests/objectives tests/measures tests/negatives tests/data/views \
  tests/acceleration/test_switch.py tests/contract/test_golden_losses.py

.PHONY: help env demo test test-plain test-fast test-slow check docs notebook sanitize campaign clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

env: $(STAMP)  ## make the environment in .venv

demo: demo/report.html  ## does AdCo's bank help on Fashion-MNIST? three pairs, demo/report.html (under 4 minutes on 2 cores)
	@echo "demo/report.html is up to date: open it in a browser"

test: $(STAMP)  ## all tests: what CI runs
	$(PYTEST)

test-plain: $(STAMP)  ## the tests of what has a fast path, with the slow twins: CI runs them too
	SPARRING_ACCELERATION=off $(PYTEST) $(PLAIN)

test-fast: $(STAMP)  ## the tests that take seconds
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)  ## the others
	$(PYTEST) -m slow

sanitize:  ## fuzz the compiled kernel with address and undefined-behaviour sanitizers (needs gcc)
	mkdir -p build
	gcc -std=c11 -g -O1 -ffp-contract=off -fno-sanitize-recover=all \
	  -fsanitize=address,undefined,float-cast-overflow \
	  -o build/fuzz_views tests/acceleration/fuzz_views.c -lm
	build/fuzz_views $(CALLS)

campaign: $(STAMP)  ## 200 kills, 10,000 malformed files, 100,000 steps: build/campaign.json (under an hour)
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m campaigns --kills 200 --inputs 10000 \
	  --steps 100000 --workers $(WORKERS) --json build/campaign.json

check: $(STAMP)  ## style, formatting, types and the import rule
	scripts/check

docs: $(STAMP)  ## the documentation as a site, build/site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

notebook: build/notebooks/first_encoder.ipynb  ## run the notebook, whose outputs `make docs` then shows

build/notebooks/%.ipynb: docs/notebooks/%.ipynb scripts/run-notebook | $(STAMP)
	$(BIN)/python scripts/run-notebook $<

clean:  ## remove what make has made, except demo/
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache

# A half-made environment has no stamp, so the next make goes on with it.
$(STAMP): pyproject.toml setup.py src/sparring/acceleration/_views.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: sparring needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo/report.html: $(SOURCES) scripts/demo-data | $(STAMP)
	data=$$(scripts/demo-data demo/data) && $(BIN)/sparring demo --out demo --data "$$data"
