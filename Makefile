# The targets make .venv on their own; PYTHON must be 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
# One torch thread a process: on small models two are slower than one.
export OMP_NUM_THREADS := 1

.PHONY: demo check format test test-slow test-gpu bench clean

demo: .venv/ready
	$(BIN)/aigc demo

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Two processes, whatever the machine has: most tests wait for servers, and each process has servers
# and a gigabyte of its own. A file is not torn, so that it sets up once; the order is kept, so that
# the long ones, amid the others, are not left to the end.
test: .venv/ready
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/ready
	$(BIN)/pytest -m slow --timeout=3600

test-gpu: .venv/ready
	$(BIN)/pytest -m gpu

# make bench NAME=loop. The stream is compared with libraries that have an environment of their own.
ifeq ($(NAME),stream)
bench: BIN := .venv/bench/bin
bench: .venv/bench/ready
else
bench: .venv/ready
endif
	PYTHONPATH=tests/fixtures $(BIN)/python tests/benchmarks/bench_$(NAME).py

# The marker file comes last, so an interrupted installation is begun again.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Two of them want torchvision, which has no build for every torch, and other versions than the rest:
# they are installed without what they ask for, and run all the same.
.venv/bench/ready: .venv/ready
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	.venv/bench/bin/python -m pip install --quiet --constraint constraints.txt --no-deps \
		litdata mosaicml-streaming
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
