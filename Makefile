# Everything runs in .venv, which the first target that needs it sets up from pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BENCH_INSTALLED := $(VENV)/bench-installed
NEW_PASSWORD := $(PYTHON) -c 'import secrets; print(secrets.token_hex(24))'

.DEFAULT_GOAL := help
.PHONY: help demo playground test pyramid core quick lint unit compliance copies rooms without screenshots format language migration bench bench-full docs clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(INSTALLED)  ## Register two users in a temporary database, and show what happened
	@$(BIN)/allocation demo

# room: playground
playground: $(INSTALLED)  ## Break it yourself, in a browser; Ctrl-C leaves nothing behind
	@$(BIN)/allocation playground
# end

test: lint  ## Lint, check types and import contracts, run the whole pyramid, check coverage
	$(BIN)/coverage erase
	@$(MAKE) --no-print-directory -j 3 pyramid compliance core
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='src/allocation/domain/*,src/allocation/service_layer/*'

quick: lint  ## Lint, check types and contracts, run the unit tests and the core on SQLite
	$(BIN)/pytest -q -n 2 --dist worksteal tests/unit tests/integration -k "not postgres" \
	  --ignore-glob='tests/integration/*/*'

pyramid: $(INSTALLED)  # most of the time, tests wait
	$(BIN)/coverage run -m pytest -n 4 --dist worksteal

lint: $(INSTALLED)  ## Lint, check types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(INSTALLED)  ## Run the unit tests only
	$(BIN)/pytest tests/unit

compliance: $(INSTALLED)  ## Run SQLAlchemy's own suite against our dialects
	@mkdir -p .compliance
	@cd .compliance && ../$(BIN)/pytest ../tests/compliance -c ../tests/compliance/setup.cfg > told 2>&1 \
	  || { cat told; exit 1; }
	@echo "SQLAlchemy's own suite: $$(tail -n 1 .compliance/told)"

core: $(INSTALLED)  # the copy without any room, which "copies" has, too
	@$(BIN)/pytest -q --no-header tests/copies -k all_rooms

copies: $(INSTALLED)  ## Take each room out of a copy, put use cases into others, follow the tutorials; check them (BRIEF=1: less)
	$(BIN)/pytest -n 2 tests/copies $(if $(BRIEF),-k "not all_rooms and not followed")

rooms: $(INSTALLED)  ## List the rooms: what can be taken out
	@$(BIN)/python -m tools.rooms

without: $(INSTALLED)  ## Take rooms out of the working tree: make without ROOM="brokers smtp"
	@$(BIN)/python -m tools.rooms without $(ROOM)

# room: page
screenshots: $(INSTALLED)  ## Take the pictures of the page that README and docs/rooms.md show
	ALLOCATION_SCREENSHOTS=1 $(BIN)/pytest tests/e2e/page/test_pictures.py
	ALLOCATION_SCREENSHOTS=1 $(BIN)/pytest tests/e2e/playground/test_pictures.py  # room: playground
# end

format: $(INSTALLED)  ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

language: $(INSTALLED)  ## Format, and write what is made from messages and errors: golden files, parts of the docs
	@$(BIN)/ruff format -q . && $(BIN)/ruff check --fix-only -q .  # lines are counted
	@$(BIN)/python -m tools.language
	@$(BIN)/python -m tests.generated

migration: $(INSTALLED)  ## Make a migration from the tables: make migration NAME="Users have a colour"
	@$(BIN)/python -m tools.migration

bench: $(BENCH_INSTALLED)  ## Measure in minutes, beside peers, and write docs/performance.md
	@$(BIN)/python -m benchmarks $(TOPICS)

bench-full: $(BENCH_INSTALLED)  ## The same in longer rounds
	@$(BIN)/python -m benchmarks --full $(TOPICS)

docs: $(INSTALLED)  ## Build the site of README.md and docs/, in the folder site
	@$(BIN)/python -m tools.site

# room: brokers, operations, postgresql, smtp
secrets:  ## Make the passwords of compose.yaml, once
	@set -e; postgres=$$($(NEW_PASSWORD)); rabbitmq=$$($(NEW_PASSWORD)); mkdir -m 700 $@; cd $@; \
	printf '%s\n' "$$postgres" > postgres_password; \
	printf 'postgresql://allocation:%s@postgres:5432/allocation\n' "$$postgres" > database_url; \
	printf 'default_user = allocation\ndefault_pass = %s\n' "$$rabbitmq" > rabbitmq_account; \
	printf 'amqp://allocation:%s@rabbitmq:5672/\n' "$$rabbitmq" > broker_url; \
	chmod 644 *  # for the users of the containers; here, the folder keeps others out
# end
# room: brokers, operations, postgresql, smtp, web
	@$(NEW_PASSWORD) > $@/operator_token; chmod 644 $@/operator_token
# end

clean:  ## Remove everything that was set up or measured
	rm -rf $(VENV) site .benchmarks-* .compliance .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(INSTALLED): pyproject.toml constraints.txt
	@test -d $(VENV) || echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,bench]'
	@touch $@
