# Everything a checkout needs. Each target builds the environment it uses; stamps keep it from being built twice.
#
#   make demo    build, write, read back and run a small CPM on a drawn image
#   make test    the whole test suite, on two processes
#   make lint    ruff, formatting, strict types
#   make fuzz    spoiled files for every reader, COUNT of each (half an hour of one core for a million in all)
#   make bench   speed beside named peers, parity first
#   make peers   a second environment with the oldest protobuf and OpenCV 4, which some tests use where it exists
#   make docs    the documentation, strict, into build/docs; its tools have an environment of their own
#   make clean   what runs and builds leave behind; the environments stay
#
# TORCH names the build of PyTorch to install first, for instance `make test TORCH=torch==2.4.1`.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
PEERS ?= .venv-peers
DOCS ?= .venv-docs
COUNT ?= 22000
BIN := $(VENV)/bin

.DELETE_ON_ERROR:
.PHONY: demo test lint fuzz bench peers docs clean install

install: $(VENV)/.installed

$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cpm_port needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m cpm_port.demo

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 CPM_PORT_FUZZ=$(COUNT) $(BIN)/python -m pytest tests/fuzz

bench: $(VENV)/.installed
	$(BIN)/cpm-port bench

peers: $(PEERS)/.installed

$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet 'opencv-python-headless==4.14.*' 'protobuf==4.25.0' numpy h5py pytest pytest-xdist hypothesis
	touch $@

docs: $(VENV)/.installed $(DOCS)/.installed
	$(BIN)/python docs/generate.py
	$(DOCS)/bin/mkdocs build --strict

# The tools alone, as the extra names them: the pages of Python names are read from the source, not imported.
$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"]))' \
		> $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install --quiet --requirement $(DOCS)/requirements.txt
	touch $@

clean:
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
