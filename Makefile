PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# Two threads in each of two processes wait for one another more than they work. In the versions of
# constraints.txt a warning is an error. A process that dies ends the tests: xdist waits for ever for
# one that it has started in its place when no test is left.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -W error --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: demo demo-photos browser audit test test-full check format docs
.DEFAULT_GOAL := demo

# The main job on scikit-learn's handwritten digits: ends with the verdict and the report's path.
demo: .venv/core
	$(BIN)/mobilenets fit digits --latency 0.3ms --epochs 40 --out runs/digits

# The same for 219 photographs of 10 classes (Debian's tuxpaint-stamps-default), from ImageNet weights.
demo-photos: .venv/imagenet
	$(BIN)/python experiments/stamps.py runs/data/stamps
	$(BIN)/mobilenets fit runs/data/stamps --latency 5ms --minutes 10 --out runs/stamps

# onnxruntime-web from npm, in the versions of package-lock.json, for `mobilenets serve`. `make audit`
# asks npm's registry for known weaknesses of these.
WEB := packages/mobilenets-onnxruntime-web
browser: .venv/core
	cd $(WEB) && npm ci --no-audit
	$(PYTHON) $(WEB)/take_files.py
	$(PIP) --force-reinstall --no-deps ./$(WEB)

audit:
	cd $(WEB) && npm audit

test: .venv/test
	$(PYTEST)

# With every family in every runtime, and with all that is killed on its way: before an issue is closed.
test-full: .venv/test
	$(PYTEST) --full

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: .venv/test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, in site/: the commands' reference from what --help prints, then every page, links checked.
docs: .venv/docs
	$(BIN)/python -m mobilenets.cli.reference_page > docs/reference/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/check_links.py site

# What it takes to run; and with ImageNet weights.
.venv/core: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/imagenet: .venv/core
	$(PIP) --editable '.[imagenet]'
	touch $@

# With all that the tests compare with, in the versions that they are known to pass with.
.venv/test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[test]' --constraint constraints.txt
	touch $@

.venv/docs: .venv/core
	$(PIP) --editable '.[docs]'
	touch $@
