# Needs Python 3.11 or newer, git and make; brings everything else by itself.
#
#   make up [ARGS='--sensors 12']        run everything on this machine, Ctrl-C ends it
#   make test                            lint, types and all tests
#   make bench NAME=first_row [ARGS=..]  run one benchmark; its last line is one JSON document
#   make help                            all targets

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help environment up test test-slow lint types bench build clean

BIN := .venv/bin
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)
ARGS ?=

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## Bring uv, and the locked dependencies into .venv
	@test -n "$(PYTHON)" || { echo "Gaugeway needs Python 3.11 or newer, and there is none on PATH: install one," \
		"or say where it is with PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" scripts/environment.py

up: environment ## Run everything on this machine; ARGS are those of `gaugeway up`
	@$(BIN)/gaugeway up $(ARGS)

test: lint types ## Lint, types and all tests, but for the slow ones
	@$(BIN)/python scripts/prepare_tests.py
	$(BIN)/pytest -m "not slow" $(ARGS)

test-slow: environment ## The tests that `make test` has no time for
	@$(BIN)/python scripts/prepare_tests.py
	$(BIN)/pytest -m slow $(ARGS)

lint: environment ## Style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: environment ## Types, strictly
	$(BIN)/mypy

bench: environment ## Run bench/NAME.py with ARGS
	@test -n "$(NAME)" || { echo "say which: make bench NAME=first_row; there are" \
		$(filter-out __init__,$(notdir $(basename $(wildcard bench/*.py)))) >&2; exit 2; }
	@$(BIN)/python -m bench.$(NAME) $(ARGS)

build: environment ## Build the wheel and the source archive into dist/
	@$(BIN)/python scripts/environment.py --uv build

clean: ## Remove what the other targets made, but for data directories
	rm -rf .venv .venvs .tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
