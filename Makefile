# Everything a developer types. `make help` prints this list from the comments.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= .demo
FUZZ_SECONDS ?= 240
# Tests wait for other processes half of their time, so there are two more of their processes than cores. A module stays whole:
# torn apart, each of its parts would start the federation or the cluster that the module shares. They go in tests/conftest.py's order.
WORKERS ?= $(shell expr $$(nproc) + 2)
SPREAD := -n $(WORKERS) --dist loadscope --no-loadscope-reorder
# What the contract must not break: the published main branch, or the last commit where there is none.
BASE ?= $(shell git rev-parse --verify -q origin/main || git rev-parse HEAD)
CONSTRAINTS := $(if $(wildcard constraints.txt),-c constraints.txt)

# Where compiled modules are kept nowhere, each server, agent and job that a test starts compiles the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup check test test-all campaign-record focus-tools fix baseline proto aio browse-pictures schemas record-docs sdk-docs authorization-docs metrics-docs cli-docs fuzz lock bench bench-placement demo demo-down

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/dev.stamp ## Make .venv with everything for development
check: $(VENV)/dev.stamp ## Lint, types, import contracts, protos
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against '.git#ref=$(BASE),subdir=protos'
	$(BIN)/buf breaking protos --against tests/upgrade/released/contract.binpb

test: $(VENV)/dev.stamp ## All tests, campaigns in their short form
	$(BIN)/python -m pytest $(SPREAD)

test-all: $(VENV)/dev.stamp ## All tests, campaigns in their long form
	$(BIN)/python -m pytest $(SPREAD) --long

campaign-record: $(VENV)/dev.stamp ## Kill servers 500 times while they write the record; nothing may be lost, nothing twice
	$(BIN)/python -m tests.faults.record_campaign --kills 500

focus-tools: $(VENV)/dev.stamp ## Make the environments of the tools that check FOCUS files; tests do so too, once
	$(BIN)/python -m tests.focus_tools

fix: $(VENV)/dev.stamp ## Format, and mend what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

baseline: $(VENV)/dev.stamp ## Freeze what is here as the release that upgrades are tested from; when a release is made
	$(BIN)/python -m tests.upgrade.baseline

proto: $(VENV)/dev.stamp ## Generate federation/v1 from protos/
	./infra/gen_protos.sh

sdk-docs: $(VENV)/dev.stamp ## Print the reference of docs/sdk.md from federation/client/areas
	$(BIN)/python infra/gen_sdk_docs.py

aio: $(VENV)/dev.stamp ## Print federation/client/aio.py from federation/client/areas
	$(BIN)/python infra/gen_aio.py > .aio.py && mv .aio.py federation/client/aio.py
	$(BIN)/ruff check -q --fix --select I federation/client/aio.py && $(BIN)/ruff format -q federation/client/aio.py

browse-pictures: $(VENV)/dev.stamp ## Draw the pictures of docs/browse.md
	$(BIN)/python -m tests.browse.pictures docs/pictures

schemas: $(VENV)/dev.stamp ## Generate docs/schemas from the values that files hold
	for kind in world request declarative; do $(BIN)/fed world schema $$kind > docs/schemas/$$kind.schema.json; done
	$(BIN)/fed compliance schema > docs/schemas/compliance.schema.json

record-docs: $(VENV)/dev.stamp ## Write the columns of the record's tables into docs/record.md
	$(BIN)/python -m federation.adapters.records_docs docs/record.md

authorization-docs: $(VENV)/dev.stamp ## Write who may call what into docs/authorization.md
	$(BIN)/python -m federation.api.matrix docs/authorization.md

cli-docs: $(VENV)/dev.stamp ## Print docs/cli.md, the schema of answers, and what completion reads, from the commands
	$(BIN)/python -m federation.cli.reference

metrics-docs: $(VENV)/dev.stamp ## Write the table of metrics into docs/operations.md
	$(BIN)/python -m federation.metrics docs/operations.md

fuzz: $(VENV)/dev.stamp ## Fuzz formats and every method for FUZZ_SECONDS (240) each, by seeds of its own
	$(BIN)/python -m pytest tests/attacks/test_fuzz_methods.py tests/attacks/test_fuzz_formats.py -p no:randomly --timeout 0 --fuzz-seconds $(FUZZ_SECONDS)

lock: ## Renew constraints.txt from what the registry has now
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --disable-pip-version-check -e '.[dev,demo,aws,browse,mcp,otel,postgres,s3,spark,vault]'
	(echo "# Versions that the project was last tested with; pip takes them with -c. Renewed by \`make lock\`."; \
	  .lock-venv/bin/pip freeze --exclude-editable) > constraints.txt
	rm -rf .lock-venv

bench: $(VENV)/dev.stamp ## Run the benchmarks; figures are in benchmarks/README.md
	$(BIN)/python -m benchmarks

bench-placement: $(VENV)/dev.stamp ## Run the benchmarks of placement: latency, regret, queue, pipelines, growth
	$(BIN)/python -m benchmarks placement regret queue pipelines growth

demo: $(VENV)/demo.stamp ## Three sites, real data, three jobs; leaves the federation running
	$(BIN)/python examples/demo/run.py --state $(STATE)

demo-down: $(VENV)/demo.stamp ## End what `make demo` started
	$(BIN)/fed down --state $(STATE)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml $(wildcard constraints.txt) | $(BIN)/python
	@echo "installing what the demo needs into $(VENV) (once) ..."
	$(BIN)/pip install --disable-pip-version-check $(CONSTRAINTS) -e '.[demo,s3,browse]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(wildcard constraints.txt) | $(BIN)/python
	@echo "installing everything for development into $(VENV) (once) ..."
	$(BIN)/pip install --disable-pip-version-check $(CONSTRAINTS) -e '.[dev,demo,aws,browse,mcp,otel,postgres,s3,spark,vault]'
	@touch $@ $(VENV)/demo.stamp
