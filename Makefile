# Two commands do everything on a machine with python3 (>= 3.11) and make:
#   make train   trains the main job on embedded real data
#   make test    passes the tests
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/digits_cnn.py
WORKDIR ?= runs/$(basename $(notdir $(CONFIG)))
BIN = $(VENV)/bin

.PHONY: train test test-slow parity peers reproduce check format clean

train: $(VENV)/.installed
	$(BIN)/python scripts/train.py --config=$(CONFIG) --workdir=$(WORKDIR) $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow $(ARGS)

parity: $(VENV)/.installed-parity
	$(BIN)/python -m pytest -m parity tests/parity $(ARGS)

peers: $(VENV)/.installed $(VENV)-peers/.installed
	$(BIN)/python scripts/peers.py --peer_python=$(VENV)-peers/bin/python $(ARGS)

reproduce: $(VENV)/.installed  # make reproduce ROW=digits_cnn
	$(BIN)/python scripts/reproduce.py --row=$(ROW) $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --warnings
	$(BIN)/python -m pytest tests/layering_test.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zoo needs Python >= 3.11; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-parity: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev,parity]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)-peers/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet -e '.[parity,peers]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers .pytest_cache .ruff_cache
