# Everything runs in .venv. A target installs what it needs there, once, in pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/installed-demo
DOCS := $(VENV)/installed-docs
RELEASE := $(VENV)/installed-release
PLAYGROUND := $(VENV)/installed-playground
TEST := $(VENV)/installed-test
BENCH := $(VENV)/installed-bench
COMPILED := $(VENV)/compiled
PARALLEL := -n auto --dist load --maxschedchunk 1 --durations 10
ENGINE := packages/aftercommit/tests/aftercommit_tests
# tutorials and the worked use case, each in a copy of the project: for a release
COPIES := checks/full
QUICK := tests/unit tests/integration checks/test_*.py $(ENGINE)/test_*.py
IN_PROCESS := $(QUICK) $(ENGINE)/extensions $(ENGINE)/outbox --ignore-glob="*/processes/*"
TESTS := tests/unit tests/integration $(ENGINE) packages/aftercommit/tests/simulation \
  packages/sqlalchemy-anyio/tests/sqlalchemy_anyio_tests tests/e2e checks
INNER := 'src/allocation/domain/*,src/allocation/service_layer/*'
UNFINISHED = || { status=$$?; [ $$status = 1 ] || { mkdir -p .pytest_cache; echo $@ >> .pytest_cache/unfinished; }; exit $$status; }
NEW_PASSWORD := $(PYTHON) -c 'import secrets; print(secrets.token_hex(24))'
unexport PYTHONDONTWRITEBYTECODE  # containers set it; each of hundreds of processes would compile all
unexport PYTHONUNBUFFERED  # containers set it, too, and users do not: what a full disk does differs

.DEFAULT_GOAL := help
.PHONY: help demo kill playground two-services install test check rest second-tier test-full floors quick core-tests in-full mutations again reports coverage lint unit application simulate compliance format language migration new new-aggregate bench bench-full docs requirements release clean

help:  ## List the targets
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { \
	  n = split($$2, words, " "); line = sprintf("%-16s", $$1); \
	  for (i = 1; i <= n; i++) { \
	    if (length(line) + length(words[i]) > 79) { print line; line = sprintf("%15s", "") } \
	    line = line (i > 1 ? " " : "") words[i] } \
	  print line }' $(MAKEFILE_LIST)

demo: $(DEMO)  ## Register two users in a temporary database, and show what happened
	@$(BIN)/allocation demo

kill: $(DEMO)  ## Kill a process right after its COMMIT: a worker does the rest; ten seconds
	@$(BIN)/python -m playground.kill

playground:  ## Break it yourself, in a browser; Ctrl-C leaves nothing behind
	@$(PYTHON) -m playground.free_port
	@$(MAKE) --no-print-directory $(PLAYGROUND)
	@$(BIN)/python -m playground

two-services: $(TEST)  ## Run this service and a second one, kill both: AMQP_URL=amqp://… is your RabbitMQ
	@$(BIN)/python -m examples.two_services

install: $(TEST)  ## Install all that tests and checks need

test: $(TEST) $(COMPILED)  ## Prove each promise once, in four minutes: what a newcomer runs first, and every change often
	$(BIN)/pytest $(PARALLEL) --tier test $(TESTS) $(UNFINISHED)

$(COMPILED): $(TEST)  # the tests: once, and not by each of several processes in the first run
	@$(BIN)/pytest -q --collect-only --tier test $(TESTS) > /dev/null
	@touch $@

check: $(TEST)  ## What a change has to pass: make test, lint, and all that takes longer; twenty minutes
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory rest

rest: $(TEST)  # of `make check`; all of it, also after a failure
	@$(MAKE) --no-print-directory --keep-going -j 2 lint compliance second-tier

second-tier: $(TEST)  # real processes, servers and browsers, kills, more seeds, pages, packages
	$(BIN)/pytest $(PARALLEL) --tier check --ignore=$(COPIES) $(TESTS) $(UNFINISHED)

test-full: $(TEST)  ## What a release has to pass: the site, all tests in each combination, coverage, compliance
	$(BIN)/coverage erase
	@$(MAKE) --no-print-directory lint docs in-full
	@$(MAKE) --no-print-directory reports compliance

floors:  ## Run the tests of the layers with the lowest versions that the packages accept, on the oldest Python
	@$(PYTHON) -m tools.floors $(VENV)-floors
	$(VENV)-floors/bin/python -m pytest -p tools.old_versions $(PARALLEL) $(filter-out checks,$(TESTS))

quick: $(TEST)  ## Lint, check types and contracts, run the unit tests and the core on SQLite
	@$(MAKE) --no-print-directory -j 2 lint core-tests

core-tests: $(TEST)
	$(BIN)/pytest -q -n 2 --dist worksteal $(QUICK) -k "not postgres"

in-full: $(TEST)
	$(BIN)/coverage run -m pytest $(PARALLEL) --in-full $(TESTS) $(UNFINISHED)

mutations: $(TEST)  ## Break the engine in ways that the simulation has to find: make mutations NAMES="lane" SEEDS=50
	@for each in sqlite postgresql; do PYTHONPATH=packages/aftercommit/tests \
	  $(BIN)/python -m simulation.mutations $(NAMES) --seeds $(or $(SEEDS),50) --database $$each || exit; done

again: $(TEST)  ## Run what has failed in the last run once more: alone, and one after the other
	$(BIN)/pytest --in-full --last-failed --last-failed-no-failures none $(TESTS)

reports: $(TEST)  # of what `make test-full` has measured
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include=$(INNER)

coverage: $(TEST)  ## Measure what the tests of the layers within one process reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(PARALLEL) $(IN_PROCESS) packages/sqlalchemy-anyio/tests/sqlalchemy_anyio_tests
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include=$(INNER)

lint: $(TEST)  ## Lint, check types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(TEST)  ## Run the unit tests only
	$(BIN)/pytest tests/unit

application: $(TEST)  ## Run the application's own tests, in each layer: less than a minute
	$(BIN)/pytest -q -n 3 --dist load --maxschedchunk 1 tests/unit tests/integration tests/e2e

simulate: $(TEST)  ## Run the engine in simulated worlds, with faults by seed: make simulate SEED=17, or SEEDS=1000
	@PYTHONPATH=packages/aftercommit/tests $(BIN)/python -m simulation \
	  $(if $(SEEDS),1 $(SEEDS) --jobs 2,$(or $(SEED),1 30)) $(if $(DATABASE),--database $(DATABASE))

compliance: $(TEST)  ## Run SQLAlchemy's own suite against our dialects
	@mkdir -p .compliance
	@cd .compliance && ../$(BIN)/pytest ../packages/sqlalchemy-anyio/tests/compliance -c ../packages/sqlalchemy-anyio/tests/compliance/setup.cfg > told 2>&1 \
	  || { cat told; exit 1; }
	@echo "SQLAlchemy's own suite: $$(tail -n 1 .compliance/told)"

format: $(TEST)  ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

language: $(TEST)  ## Format, and write what is made from messages and errors: golden files, parts of the docs
	@$(BIN)/ruff format -q . && $(BIN)/ruff check --fix-only -q .  # lines are counted
	@$(BIN)/python -m tools.message_compatibility
	@$(BIN)/python -m tools.generated
	@$(BIN)/python -m tools.project_constraints

migration: $(TEST)  ## Make a migration from the tables: make migration NAME="Users have a colour"
	@$(BIN)/python -m aftercommit.project.migration $(or $(OF),allocation.adapters.migrations:HISTORY) "$$NAME"

new: $(TEST)  ## Make a project on the engine: make new DIR=../shop OPTIONS="--http --brokers"
	@$(BIN)/python -m tools.new_project "$(DIR)" $(OPTIONS)

new-aggregate: $(TEST)  ## Make an aggregate here: make new-aggregate NAME=Referral FIELDS="email note"
	@$(BIN)/aftercommit new-aggregate $(NAME) $(FIELDS) $(if $(COMMANDS),--commands "$(COMMANDS)")
	@$(MAKE) --no-print-directory language

bench: $(BENCH)  ## Measure in minutes, beside peers, and write performance.md
	@$(BIN)/python -m benchmarks $(TOPICS)

bench-full: $(BENCH)  ## The same in longer rounds
	@$(BIN)/python -m benchmarks --full $(TOPICS)

docs: $(DOCS)  ## Build the site of all pages, with the API reference, in the folder site
	@$(BIN)/python -m tools.site

requirements: $(RELEASE)  ## Write requirements.txt: what the image has from others, with hashes
	@$(BIN)/python -m tools.requirements

release: $(RELEASE)  ## Make and try all that is released, in the folder dist; with TAG=…, refuse what is not ready
	@$(BIN)/python -m tools.release $(TAG)

secrets:  ## Make the passwords of compose.yaml, once
	@set -e; postgres=$$($(NEW_PASSWORD)); rabbitmq=$$($(NEW_PASSWORD)); mkdir -m 700 $@; cd $@; \
	printf '%s\n' "$$postgres" > postgres_password; \
	printf 'postgresql://allocation:%s@postgres:5432/allocation\n' "$$postgres" > database_url; \
	printf 'default_user = allocation\ndefault_pass = %s\n' "$$rabbitmq" > rabbitmq_account; \
	printf 'amqp://allocation:%s@rabbitmq:5672/\n' "$$rabbitmq" > broker_urls; \
	chmod 644 *  # for the users of the containers; here, the folder keeps others out
	@$(NEW_PASSWORD) > $@/operator_token; chmod 644 $@/operator_token

clean:  ## Remove everything that was set up or measured
	rm -rf $(VENV) dist site .benchmarks-* .compliance .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/installed-%: pyproject.toml constraints.txt $(wildcard packages/*/pyproject.toml)
	@$(PYTHON) -m tools.install $(VENV) $*
	@touch $@

$(BENCH): $(TEST)
