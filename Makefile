# Every target sets up what it needs: a machine with Python 3.11 or newer and a package index is enough.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Idle OpenMP threads sleep. By default they spin, which costs dearly where several processes share a few cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install quickstart test test-all lint bench drill constraints audit

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lucene,dense,serve,export,langchain,pyterrier,sentence-transformers]'
	touch $(INSTALLED)

# Distil a small reranker on the docstrings of the standard library; writes out/quickstart/summary.json.
quickstart: $(INSTALLED)
	$(BIN)/python pipelines/distill.py pipelines/recipes/quickstart.yaml --output out/quickstart

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two files at a time, the long ones (which start clusters and mostly wait) first.
test: lint
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder --durations 25

test-all: lint
	$(BIN)/python -m pytest -m "not gpu" --durations 30

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,export,serve]'
	$(BIN)/python -m tests.benchmarks.scorer --json out/bench/scorer.json
	$(BIN)/python -m tests.benchmarks.labeling --json out/bench/labeling.json
	$(BIN)/python -m tests.benchmarks.serving --json out/bench/serving.json
	$(BIN)/python -m tests.benchmarks.training --json out/bench/training.json

# Ten minutes of kills under label and train jobs on a cluster of this machine; see cluster/DRILL.md.
drill: $(INSTALLED)
	$(BIN)/python -m cluster.drill --json out/drill/drill.json

# Newest versions of everything but torch, resolved together in a fresh environment; run `make test-all` before keeping them.
constraints:
	rm -rf out/constraints && mkdir -p out/constraints
	grep -E '^torch==' constraints.txt > out/constraints/torch.txt
	$(PYTHON) -m venv out/constraints/venv
	out/constraints/venv/bin/python -m pip install --quiet --disable-pip-version-check -c out/constraints/torch.txt \
		-e ".[$$($(PYTHON) .ci/constraints.py --extras)]" packaging
	out/constraints/venv/bin/python .ci/constraints.py > out/constraints/constraints.txt
	mv out/constraints/constraints.txt constraints.txt

# Known vulnerabilities of the pinned versions; --strict, since a version that could not be looked up is not a clean one.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip --progress-spinner off --desc -r constraints.txt
