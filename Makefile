PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test types tests test-all bench clean

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# Discover a rule in minutes on a CPU, train fresh agents with it beside A2C, cut its predictions.
demo: setup
	$(BIN)/metatrain --preset quick --run-dir runs/demo
	$(BIN)/metatest --rule runs/demo/rule.safetensors --envs short long --seeds 8 --selection-seeds 4 \
		--steps 128000 --num-envs 16 --run-dir runs/demo/metatest --baselines a2c
	$(BIN)/metatest probe --rule runs/demo/rule.safetensors --run-dir runs/demo/probe --quick

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/style_figures.py
	$(MAKE) --jobs=2 types tests

types: setup
	$(BIN)/pyright

tests: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=10

# The slow ones too: whole commands, two processes, jobs on Atari, published sizes; half an hour or more.
test-all: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m 'not gpu'

bench: setup
	$(BIN)/python scripts/bench_metatrain.py --sizes 15 30 60

clean:
	rm -rf .venv runs .cache .pytest_cache .ruff_cache build *.egg-info
