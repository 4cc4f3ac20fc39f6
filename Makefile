# Every command creates .venv when it is absent, with versions from constraints.txt. pip's own configuration decides
# where packages come from. Another Python: make PYTHON=python3.12 book
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# More threads are slower on networks this small, and much slower on a busy machine.
export OMP_NUM_THREADS ?= 1
# Empty for the newest versions that pyproject.toml allows
CONSTRAINTS := -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_LAB := $(VENV)/.installed-lab
LAB_SETTINGS := $(VENV)/etc/jupyter/labconfig/default_setting_overrides.json

.DEFAULT_GOAL := help
.PHONY: help book pdf notebooks test lint lab paper bench clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: notebooks  ## execute the chapters that changed and build the book
	$(BIN)/jupyter-book build --all . -W -n --keep-going
	@echo "The book is in file://$(abspath _build/html/index.html)"

pdf: book  ## the whole book as one PDF, printed by a Chromium that is on this machine
	$(BIN)/python book/extension/book_pdf.py

notebooks: $(INSTALLED)  ## execute the chapters that changed, no more
	$(RUN) companion execute

test: lint  ## lint, type check and all tests, also of the built book
	$(RUN) pytest -n 2

lint: $(INSTALLED)  ## the quick part of the tests: ruff and mypy
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

lab: $(INSTALLED_LAB)  ## open the chapters as notebooks in JupyterLab
	$(BIN)/jupyter lab --ip 127.0.0.1

paper: $(INSTALLED)  ## recompute the paper-scale record, resuming where it stopped
	$(RUN) companion run

bench: $(INSTALLED)  ## time the library beside what one would otherwise call; DEVICE=cuda adds rows of a GPU
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; \
		$(RUN) benchmarks.$$(basename $$file .py) $(if $(DEVICE),--device $(DEVICE)) || exit 1; done

clean:  ## remove what was built and executed; keeps .venv and results
	rm -rf _build _executed .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
		sys.exit(0 if ok else f"Python 3.11 to 3.13 is needed, and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install $(CONSTRAINTS) -e '.[test,docs]'
	@touch $@

$(INSTALLED_LAB): $(INSTALLED)
	$(RUN) pip install $(CONSTRAINTS) -e '.[lab]'
	$(BIN)/jupytext-config --settings-file $(LAB_SETTINGS) set-default-viewer python
	@touch $@
