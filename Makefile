# make demo   from ECG files to a report, on simulated ECGs (about six minutes on two cores)
# make test   lint, types, import contracts, the house, and all tests
# make test-slow   the tests that take long: killed trainings, several processes, compilation, whole real databases
# All create .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-slow clean

demo: $(INSTALLED)
	$(BIN)/ecgjepa demo --out demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/house.py
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder

test-slow: $(INSTALLED)
	ECGJEPA_SLOW=1 OMP_NUM_THREADS=1 $(BIN)/pytest --quiet -m slow

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
