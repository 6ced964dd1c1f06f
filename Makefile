PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint bench clean

# the two commands that a newcomer needs
demo: $(INSTALLED)
	$(BIN)/thetascope demo

test: lint
	$(BIN)/pytest -q -m "not slow" -n 2

test-all: lint
	$(BIN)/pytest -q -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit 1; done

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) thetascope-demo .mypy_cache .ruff_cache .pytest_cache
