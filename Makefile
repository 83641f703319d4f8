# The two commands of the README: `make demo` and `make test`.
# Each makes .venv, installs what it needs there and does its job.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
SITE ?= build/site
JOBS ?= auto

.PHONY: demo test test-slow lint docs clean

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

# The site as a folder that works by double click; a warning is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir "$(abspath $(SITE))"
	@echo "the site: $(SITE)/index.html"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,report,train,itk]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]' \
	  || { echo "the packages of the extra docs could not be installed: no site was built" >&2; exit 1; }
	touch $@

clean:
	rm -rf $(VENV) build dist
