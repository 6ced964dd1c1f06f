PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all faults lint bench docs clean

# a test that takes so long hangs: where it stands is shown, and it fails
UNHUNG := -o faulthandler_timeout=400 -o faulthandler_exit_on_timeout=true

# the two commands that a newcomer needs
demo: $(INSTALLED)
	$(BIN)/thetascope demo

test: lint
	$(BIN)/pytest -q -m "not slow and not faults_long" -n 2 $(UNHUNG)

# with the tests that take long, and those that need the libraries people train with
test-all: lint $(INSTALLED)-libraries
	$(BIN)/pytest -q -m "not faults_long" -n 2

# the long form of the fault suite: kills, full disks, damaged files, strangers' files, fuzzing; writes the table in docs/reliability.md
faults: $(INSTALLED)-faults
	$(BIN)/pytest -q tests/faults -n 2 --faults-table docs/reliability.md

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit 1; done

# builds without network; the pages' code is run and draws their pictures
docs: $(INSTALLED)-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet --builder html docs docs/_build/html
	@echo docs/_build/html/index.html

# what an extra of pyproject.toml needs besides
$(INSTALLED)-%: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) thetascope-demo docs/_build docs/_made .mypy_cache .ruff_cache .pytest_cache
