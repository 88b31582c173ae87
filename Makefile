# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS := --numprocesses 2 --dist worksteal # of one thread each
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: demo test app lint types bench fuzz kernels-check atlas gpu clean

# Two stamps, each made again only when what it depends on has changed: what runs, and what tests need besides.
$(VENV)/.installed: pyproject.toml constraints.txt setup.py
	@echo "Installing into $(VENV): torch and what statescope builds on, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --constraint constraints.txt torch
	$(BIN)/pip install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/pip install --constraint constraints.txt --group dev
	@mkdir -p $(VENV)/typing && ln -sfn "$(CURDIR)" $(VENV)/typing/statescope # mypy knows no editable installs
	@touch $@

demo: $(VENV)/.installed ## run the two flagship studies and say where their figures are
	$(BIN)/statescope demo

test: lint types ## linters, types, import contracts, tests
	$(BIN)/pytest $(WORKERS) --ignore tests/oracles --ignore tests/triton/test_interpreted.py
	$(BIN)/pytest tests/oracles # apart: transformers takes other paths where flash-linear-attention is imported
	TRITON_INTERPRET=1 $(BIN)/pytest $(WORKERS) tests/triton/test_interpreted.py # Triton reads this once, when it is imported

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.developed
	MYPYPATH=$(VENV)/typing $(BIN)/mypy -m statescope $(foreach room,kernels probe analyses app,-p statescope.$(room))

app: $(VENV)/.installed ## open the app on 127.0.0.1
	$(BIN)/statescope app

kernels-check: $(VENV)/.developed ## compile every configuration of every Triton kernel, and run them in Triton's interpreter
	$(BIN)/python tests/triton/compile_kernels.py
	TRITON_INTERPRET=1 $(BIN)/pytest tests/triton/test_interpreted.py

bench: $(VENV)/.developed ## ratios of times, as a table
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

fuzz: $(VENV)/.developed ## damaged settings, manifests, tables and checkpoints: what is refused, what crashes, as a table
	$(BIN)/python tests/fuzz/report.py

atlas: $(VENV)/.installed ## measure every claim of the atlas, or go on where it stopped, and write docs/atlas.md
	$(BIN)/statescope atlas measure --folder runs/atlas --out docs/atlas.md

gpu: ## on a GPU: whether the Triton kernels are right, how fast, and every configuration; DRY=1 in the interpreter, without one
	$(PYTHON) tests/benchmarks/gpu.py $(if $(DRY),--dry) $(if $(WHEELS),--wheels $(WHEELS)) $(if $(OUT),--out $(OUT))

clean:
	rm -rf $(VENV) build *.egg-info
