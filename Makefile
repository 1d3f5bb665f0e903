# The one door: demo, test, lint, bench. Needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c requirements.lock

# Files of tests are shared among processes, whole, those that start clusters first.
SHARED := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint bench docs clean

demo: .venv/demo-installed
	$(BIN)/zarrbench run pipelines/synthetic.yaml --cluster cluster/local.yaml --data data

test: .venv/test-installed
	$(BIN)/python -m pytest $(SHARED)

lint: .venv/test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/test-installed
	$(BIN)/python -m benchmarks.geuvadis
	$(BIN)/python -m benchmarks.haplotypes
	$(BIN)/python -m benchmarks.enformer
	$(BIN)/python -m benchmarks.cube

# The guide, in docs/_build/html; its notebooks are run on the demo. A warning is an error.
docs: .venv/test-installed
	test -d data/synthetic/predictions.zarr || $(MAKE) demo
	ZARRBENCH_DATA=$(CURDIR)/data \
		ZARRBENCH_PUBLISHED=$${ZARRBENCH_PUBLISHED:-$(CURDIR)/../shared/published} \
		$(BIN)/python -m sphinx -b html -E -W --keep-going -q \
		-d docs/_build/trees docs docs/_build/html

# Editable, so that tests see the sources; it serves the demo as well.
.venv/test-installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[test]'
	touch $@ .venv/demo-installed

.venv/demo-installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

clean:
	rm -rf .venv data docs/_build
