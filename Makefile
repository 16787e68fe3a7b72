# Everything runs in .venv, which the first target that needs it sets up from pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit compliance format clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(INSTALLED)  ## Register two users in a temporary database, and show what happened
	@$(BIN)/allocation demo

test: lint compliance  ## Lint, check types and import contracts, run the whole pyramid, check coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='src/allocation/domain/*,src/allocation/service_layer/*'

lint: $(INSTALLED)  ## Lint, check types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(INSTALLED)  ## Run the unit tests only
	$(BIN)/pytest tests/unit

compliance: $(INSTALLED)  ## Run SQLAlchemy's own suite against our dialects
	@mkdir -p .compliance
	@cd .compliance && ../$(BIN)/pytest ../tests/compliance -c ../tests/compliance/setup.cfg

format: $(INSTALLED)  ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove everything that was set up or measured
	rm -rf $(VENV) .compliance .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(INSTALLED): pyproject.toml constraints.txt
	@test -d $(VENV) || echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
