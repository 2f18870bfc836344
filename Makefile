# Everything a person or CI does with distrib. `make` alone lists the targets.
# A target that needs the environment makes it; nothing but Python 3.11 or newer is assumed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q --require-hashes
export DISTRIB_DATA ?= $(CURDIR)/.distrib
export DISTRIB_STOP = make stop
export PYTHONDONTWRITEBYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help demo test chaos check format bench up stop lock audit-dependencies clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN_STAMP)  ## install, run the main job on a realistic brand, leave the API running
	@$(BIN)/distrib demo $(ARGS)

test: $(DEV_STAMP)  ## install and pass the whole test suite
	@$(BIN)/python -m pytest -q $(ARGS)

chaos: $(DEV_STAMP)  ## kill, cut, wipe and confuse settlement some 500 times (ARGS="--runs 60")
	@$(BIN)/python -m tests.chaos $(ARGS)

check: $(DEV_STAMP)  ## style, types, import contracts, models against migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo || $(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -n 0 tests/test_migrations.py

format: $(DEV_STAMP)  ## put the code into its form
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

bench: $(RUN_STAMP)  ## measure, each figure beside a bare alternative (ARGS="--full" for a million)
	@$(BIN)/python -m bench $(ARGS)

up: $(RUN_STAMP)  ## run servers, workers and the API until Ctrl-C
	@$(BIN)/distrib up $(ARGS)

stop: $(RUN_STAMP)  ## stop what `make demo` left running
	@$(BIN)/distrib stop

lock: $(DEV_STAMP)  ## renew the lock files from pyproject.toml
	@$(BIN)/python -m pip -q --disable-pip-version-check install uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock

audit-dependencies: $(DEV_STAMP)  ## look the pinned versions up among known vulnerabilities
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements-dev.lock

clean: ## remove the environment and the demo's data
	@if [ -x $(BIN)/distrib ]; then $(BIN)/distrib stop; fi
	rm -rf $(VENV) $(DISTRIB_DATA) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Some systems ship python3 without ensurepip; then the system's pip, if any, fills the environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "distrib needs Python 3.11 or newer; try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) \
	       && $(PYTHON) -m pip --python $(BIN)/python install -q pip setuptools; } \
	  || { rm -rf $(VENV); echo "cannot make an environment: install python3-venv" >&2; exit 1; }

# The checkout itself is put on the path by a .pth file: nothing is built, nothing copied. Its
# command works on the data in .distrib, so that it sees what `make demo` made.
$(RUN_STAMP): requirements.lock | $(BIN)/python
	@echo "installing into $(VENV) ..."
	@$(PIP) -r requirements.lock
	@$(BIN)/python -c "import site, pathlib; \
	  pathlib.Path(site.getsitepackages()[0], 'distrib.pth').write_text('$(CURDIR)\n')"
	@printf '%s\n' '#!/bin/sh' 'export DISTRIB_DATA="$${DISTRIB_DATA:-$(CURDIR)/.distrib}"' \
	  'exec "$(CURDIR)/$(BIN)/python" -P -m distrib.cli "$$@"' > $(BIN)/distrib
	@chmod +x $(BIN)/distrib
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo "installing what the tests need ..."
	@$(PIP) -r requirements-dev.lock
	@touch $@
