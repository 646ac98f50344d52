# make demo | test | lint | gate | gallery: each does its own set-up in .venv
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SHIPPED := --agent pvm-partial --task cartpole_balance

.PHONY: demo test lint gate gallery install clean

demo: $(VENV)/.demo
	$(BIN)/shiftbench run $(SHIPPED) --shift severe --out runs

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=20 --durations-min=5

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Afresh each time: finished cells would not be played again.
gate: $(VENV)/.demo
	rm -rf runs/gate
	$(BIN)/shiftbench run $(SHIPPED) --shift none --shift severe --out runs/gate
	$(BIN)/shiftbench check $(SHIPPED) --level none --level severe \
		--baseline results/mini-pilot/episodes.csv --candidate runs/gate/mini-v1/cells

gallery: $(VENV)/.demo
	for task in cartpole_balance walker_walk; do \
		$(BIN)/shiftbench preview --suite core --task $$task --out docs/gallery && \
		$(BIN)/shiftbench preview --suite core --task $$task --shift severe --gif --out docs/gallery; done

install: $(VENV)/.demo

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or run make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache
