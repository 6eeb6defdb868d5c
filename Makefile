.DEFAULT_GOAL := help

# Any Python that the tests run on; only used to create .venv.
PYTHON ?= python3
# V=1 shows all that pip says while it makes the environment.
# Installed first and alone, so that its own index or a CPU build can be chosen:
# make TORCH=torch==2.13.0+cpu, or PIP_INDEX_URL and friends as pip knows them.
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
# The stamp's name holds the content that the environment was made from: a change makes a new one.
KEY := $(shell { cat pyproject.toml constraints.txt; echo "$(TORCH)"; } | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.stamp-$(KEY)

PROTOS := $(wildcard protos/v1/*.proto)
PROTOC = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=$(1) --mypy_grpc_out=$(1) $(PROTOS)
WATCH_TESTS := $(addprefix tests/deploy/test_,dashboards.py rules.py)
# The long files come first, so that both ends of the work are reached at once.
FAST_TESTS := $(addprefix tests/,integration scenarios attacks docs fuzz unit vectors) $(WATCH_TESTS)
# Tests run side by side, each file in one process; JOBS=0 runs all in one.
JOBS ?= 2
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
LONG_TESTS := $(addprefix tests/deploy/test_,compose.py bare_machine.py)
# Finds optional programs, or says what one is for and how to get it; any Python will do.
PROGRAMS := $(PYTHON) -m tests.rig.programs
COMPOSE = compose=$$($(PROGRAMS) compose) && $$compose -f deploy/compose/compose.yaml \
	$(addprefix -f deploy/compose/,$(OVERLAYS))

# A line for each step. What pip says is shown where it fails, and with V=1.
comma := ,
install = @echo "environment $(1)"; $(BIN)/python -m pip install $(2) $(if $(filter 1,$(V)),,\
	>$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log >&2; exit 1; })

help:  ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## Train with four workers on this machine and show it (about 3 minutes)
	@$(BIN)/crosscloud demo $(ARGS)

programs:  ## Which optional programs are here, what for, and how to get the others
	@$(PROGRAMS)

test: $(STAMP)  ## All tests but the slow ones
	$(BIN)/pytest $(SIDE_BY_SIDE) $(FAST_TESTS) $(ARGS)

test-programs: $(STAMP)  ## Only tests, also slow ones, that use an optional program which is here
	$(BIN)/pytest tests --programs --long $(addprefix --ignore=,$(LONG_TESTS)) $(ARGS)

test-all: $(STAMP)  ## All tests: also killed processes, deployment, a bare machine
	$(BIN)/pytest tests --long --histories 6000 --soak-minutes 10 $(ARGS)

test-prometheus: $(STAMP)  ## Dashboards and rules, under a real Prometheus where there is one
	$(BIN)/pytest $(WATCH_TESTS) tests/deploy/test_prometheus.py $(ARGS)

test-bare: $(STAMP)  ## Demo and tests of what is committed, on a Debian that has nothing (long)
	$(BIN)/pytest tests/deploy/test_bare_machine.py -s $(ARGS)

test-browser: $(STAMP)  ## The report page in a headless Chromium, if there is one (part of test-all)
	$(BIN)/pytest tests/e2e/test_report_page.py $(ARGS)

pictures: $(STAMP)  ## Make docs/pictures again from a run of the demo; needs a Chromium
	$(BIN)/python -m benchmarks.pictures $(ARGS)

chaos: $(STAMP)  ## Kill, pause and cut off every process in every phase; nothing may be lost
	$(BIN)/python -m benchmarks.chaos $(ARGS)

explore: $(STAMP)  ## Every order of messages, losses, a crash and lies, against real worker machines
	$(BIN)/python -m simulator.explorer $(ARGS)

fuzz: $(STAMP)  ## Over a million damaged inputs to everything that reads bytes (a minute or two)
	$(BIN)/python -m tests.fuzz.campaign $(ARGS)

up:  ## Build images and start a whole federation in containers (OVERLAYS=compose.no-grafana.yaml)
	@$(COMPOSE) up --build --detach --wait $(ARGS)

down:  ## Stop it; its run stays and goes on with the next `up` (ARGS=--volumes: forget it)
	@$(COMPOSE) --profile tools down $(ARGS)

logs:  ## Follow what its processes print
	@$(COMPOSE) logs --follow --tail 50 $(ARGS)

test-compose: $(STAMP)  ## Start it, kill each container, look at the walls (needs Docker; long)
	$(BIN)/pytest tests/deploy/test_compose.py $(ARGS)

lint: $(STAMP) verify-protos  ## ruff, mypy, import-linter, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

protos: $(STAMP)  ## Generate the committed gRPC stubs again
	@$(call PROTOC,.)

verify-protos: $(STAMP)  ## Fail if the committed stubs are not those of the protos
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(call PROTOC,"$$out") >/dev/null && \
	diff -rq -x __pycache__ -x __init__.py -x py.typed -x '*.proto' protos "$$out/protos" || \
	{ echo "The stubs are stale: run 'make protos' and commit what changes." >&2; exit 1; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "crosscloud is tested on Python 3.11 to 3.13 and '$(PYTHON)' is none of them:" \
	"install one and run 'make PYTHON=python3.12 $(or $(MAKECMDGOALS),help)'." >&2; exit 1; }
	@echo "environment 1/4: $(VENV), with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }  # half of one would be taken for one

$(STAMP): | $(BIN)/python
	@rm -f $(VENV)/.stamp-*
	$(call install,2/4: pip,'pip>=25.1')
	$(call install,3/4: $(TORCH)$(comma) by far the largest part,'$(TORCH)')
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt  # torch is there: TORCH's choice
	$(call install,4/4: crosscloud and what its tests use,-c $(VENV)/constraints.txt -e '.[demo]' --group dev)
	@touch $@

.PHONY: help programs demo chaos explore fuzz test test-all test-bare test-browser test-compose test-programs \
	test-prometheus lint protos verify-protos pictures up down logs
