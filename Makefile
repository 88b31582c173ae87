# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: demo test app lint types bench kernels-check clean

# One stamp for the installed environment: made again only when what it depends on has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable . --group dev
	@mkdir -p $(VENV)/typing && ln -sfn "$(CURDIR)" $(VENV)/typing/statescope
	@touch $@

demo: $(VENV)/.installed ## run the two flagship studies and say where their figures are
	$(BIN)/statescope demo

test: lint types ## linters, types, import contract, tests
	$(BIN)/pytest --ignore tests/oracles
	$(BIN)/pytest tests/oracles # apart: transformers takes other paths where flash-linear-attention is imported

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed
	MYPYPATH=$(VENV)/typing $(BIN)/mypy -m statescope $(foreach room,kernels probe analyses app,-p statescope.$(room))

app: $(VENV)/.installed ## open the app on 127.0.0.1
	$(BIN)/statescope app

kernels-check: $(VENV)/.installed ## compile every configuration of every Triton kernel, and run them in Triton's interpreter
	$(BIN)/python tests/triton/compile_kernels.py
	TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/triton/interpreted.py

bench: $(VENV)/.installed ## ratios of times, as a table
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

clean:
	rm -rf $(VENV) build *.egg-info
