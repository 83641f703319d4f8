# The two commands of the README: `make demo` and `make test`.
# Each makes .venv, installs what it needs there and does its job.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
JOBS ?= auto

.PHONY: demo test test-slow lint clean

demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/coverax demo -o $(DEMO)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not gpu" --doctest-modules --pyargs tests coverax

test-slow: $(VENV)/.installed-dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow and not gpu"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell src tests benchmarks docs README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python docs/make_cli.py --check
	$(BIN)/python -m benchmarks.tables --check

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,report,train,itk]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist
