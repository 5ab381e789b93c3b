# Every target makes .venv by itself; nothing else needs to be installed by hand.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := cli,dbos,otel,postgres,pytest,redis
# More than two cores are used by: many tests wait for processes.
JOBS ?= 4
# Slow proofs wait, for processes and for time to pass, more than they compute.
SLOW_JOBS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-uvloop test-lowest lint type bench bench-all docs pages dist format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The package with its command line, and no more: a demo is ready in seconds. Python 3.11 brings setuptools along, 9 MB
# that nothing here needs.
.venv/made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "codegen_async needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip uninstall -qq --yes setuptools; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'
	touch $@

# What tests, linters and type checkers need as well, in the same place.
.venv/made-dev: .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]' --group dev
	touch $@

# The package as users install it, beside what the documentation uses: pyright does not look for py.typed in an editable
# one, and pages are to run from the wheel.
build/installed/made: pyproject.toml
	test -x build/installed/bin/python || $(PYTHON) -m venv build/installed
	build/installed/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	build/installed/bin/python -m pip install --quiet --disable-pip-version-check '.[$(EXTRAS)]' --group test --group web
	touch $@

# Everything of which pyproject.toml names a lowest version, at that version.
build/lowest/made: pyproject.toml tests/lowest.py
	test -x build/lowest/bin/python || $(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	build/lowest/bin/python tests/lowest.py > build/lowest/constraints.txt
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint build/lowest/constraints.txt --editable '.[$(EXTRAS)]' --group test
	touch $@

# A LangGraph server, which the slow tests start.
build/langgraph/made: pyproject.toml
	test -x build/langgraph/bin/python || $(PYTHON) -m venv build/langgraph
	build/langgraph/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	build/langgraph/bin/python -m pip install --quiet --disable-pip-version-check --group langgraph
	touch $@

# A server of Temporal, and the package beside its driver, which the slow tests use.
build/temporal/made: pyproject.toml
	test -x build/temporal/bin/python || $(PYTHON) -m venv build/temporal
	build/temporal/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	build/temporal/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group temporal
	touch $@

# A kernel of Jupyter, in which the slow tests run and interrupt the notebook of the examples.
.venv/made-notebook: .venv/made-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group notebook
	touch $@

# A browser without a screen, which slow tests look at the dashboard and the documentation with: Debian's, where root runs this.
.venv/made-browser: .venv/made-dev
	$(BIN)/python -m pip install --quiet --group browser
	command -v chromium-headless-shell >/dev/null || { apt-get update -qq \
		&& apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core; } \
		|| echo "no chromium-headless-shell: what needs a browser is skipped"
	touch $@

.venv/made-bench: .venv/made-dev
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

.venv/made-dist: .venv/made-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dist
	touch $@

demo: .venv/made  ## a batch of 40 simulated runs over real HTTP, on the command line; no token, no network
	$(BIN)/codegen-async demo

test: .venv/made-dev  ## the tests, under 8 minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

test-all: test build/langgraph/made build/temporal/made .venv/made-browser .venv/made-notebook  ## the slow proofs as well: kills, power cuts, bad disks, 10,000 prompts, 100,000 requests and waits; some 20 minutes in all
	$(BIN)/python -m pytest -n $(SLOW_JOBS) --dist worksteal -m slow -rPfEs --show-capture=stdout

test-uvloop: .venv/made-dev  ## the tests that need no virtual clock, on uvloop; half a minute
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" --uvloop

test-lowest: build/lowest/made  ## the tests on the lowest versions of everything that are allowed; as long as `test`
	build/lowest/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

lint: .venv/made-dev  ## style, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: .venv/made-dev build/installed/made  ## mypy strict, pyright strict, every public type known to those who install it
	$(BIN)/mypy
	$(BIN)/pyright
	build/installed/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	PATH="$(CURDIR)/build/installed/bin:$$PATH" $(BIN)/pyright --verifytypes codegen_async --ignoreexternal \
		> build/verifytypes.txt || { cat build/verifytypes.txt; exit 1; }
	@grep completeness build/verifytypes.txt

bench: .venv/made-bench  ## one table: ours, the best of what others use, the ideal; under 3 minutes
	$(BIN)/python -m benchmarks.summary

bench-all: bench  ## all the benchmarks, each with its own tables; hours
	for name in $$(cd benchmarks && ls [a-z]*.py | sed 's/\.py$$//' | grep -vx summary); do \
		echo "== $$name" && $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: .venv/made-dev  ## the documentation, into site/
	RELEASE=$$($(BIN)/python -c 'import codegen_async as it; print(it.__version__)') $(BIN)/zensical build --strict --clean

dist: .venv/made-dist build/installed/made  ## the distributions, into dist/: built, checked, installed into empty environments and tried there, pages included; three minutes
	rm -rf dist && mkdir -p build
	$(BIN)/python -m build --outdir dist . > build/dist.txt 2>&1 || { cat build/dist.txt; exit 1; }
	$(BIN)/twine check --strict dist/*
	build/installed/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	CODEGEN_ASYNC_PYTHON=build/installed/bin/python CODEGEN_ASYNC_WHEELS=dist \
		$(BIN)/python -m pytest -n $(SLOW_JOBS) --dist worksteal tests/distribution tests/test_documentation.py --distributions dist

pages: .venv/made-dev  ## write the pages that say what the code says: errors, settings, command line, layers
	$(BIN)/python -m docs.generate

format: .venv/made-dev
	$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

clean:
	rm -rf .venv build dist site
