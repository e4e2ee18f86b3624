PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
SITE ?= docs/_build

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-full test lint docs clean

# What a user needs, and no tools for developers.
demo: $(VENV)/.installed-demo
	$(BIN)/python benchmarks/demo.py

demo-full: $(INSTALLED)
	$(BIN)/python benchmarks/compare.py

# One thread a worker: two workers with two threads each wait for one another. Each gets
# half of the tests in a row, so that what tests of a file share is made once.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Warnings are errors. One thread, as for the tests.
docs: $(INSTALLED).docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going docs $(SITE)

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	rm -rf docs/_build docs/api docs/gallery demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e ".[test,lint]"
	touch $@

$(VENV)/.installed-demo: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e ".[plot]"
	touch $@

$(INSTALLED).docs: $(INSTALLED)
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e ".[docs]"
	touch $@
