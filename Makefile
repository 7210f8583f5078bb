# `make demo` and `make test` each do all of their own set-up. They need Python 3.11 or newer, and make.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
NODE_IS_NEW := node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)'
STATIC := butlerql/static/index.html
# Options for what is run, such as ARGS="-k expressions" for `make test`.
ARGS ?=

.PHONY: help demo test slow lint format typing bench fuzz docs wheel web clean

help:
	@echo 'make demo     build the demonstration repository and serve it on http://127.0.0.1:8080/'
	@echo 'make test     run the tests, on SQLite and on PostgreSQL'
	@echo 'make slow     run those that take longest: services that are killed at every point'
	@echo 'make lint     ruff, and who imports whom; make format puts right what ruff can'
	@echo 'make typing   mypy'
	@echo 'make bench    measure what is claimed to be fast'
	@echo 'make fuzz     let the generated tests look for new examples'
	@echo 'make docs     write the reference of the schema anew'
	@echo 'make web      build the explorer page'
	@echo 'make wheel    build the wheel, and try it in a fresh environment'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed. Debian: apt-get install python3 python3-venv'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { echo 'Python has no ensurepip. Debian: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp for each set of extras says that it is installed as pyproject.toml and constraints.txt have it.
$(VENV)/butler.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing what is needed; the first time this takes a minute or two.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[butler]' -c constraints.txt
	@touch $@

$(VENV)/dev.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing what is needed; the first time this takes a minute or two.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[butler,dask,dev,s3]' -c constraints.txt
	@touch $@ $(VENV)/butler.installed

# Debian's Node may be too old for Vite; npm then brings one along.
$(STATIC): $(shell find web -path web/node_modules -prune -o -type f -print 2>/dev/null)
	cd web && if $(NODE_IS_NEW); then npm ci --no-fund --no-audit && npm run build -- --logLevel warn; \
	else npx --yes --package=node@22 -- sh -c 'npm ci --no-fund --no-audit && npm run build -- --logLevel warn'; fi
	@touch $@

web: $(STATIC)

demo: $(VENV)/butler.installed
	@if ! command -v npm >/dev/null; then echo 'No npm: the explorer page is left out, the API is served all the same.'; \
	elif ! $(MAKE) --no-print-directory web; then echo 'The explorer page could not be built; the API is served all the same.'; fi
	$(BIN)/python -m butlerql.demonstration demo
	@echo
	@echo 'Try one of the ready-made queries of the explorer, or this one:'
	@echo
	@echo '    {'
	@echo '      dataId(values: {instrument: "HSC", visit: 903334, detector: 16}) {'
	@echo '        datasets(collections: ["HSC/runs/ci_hsc"], match: CONTAINING, first: 20) {'
	@echo '          nodes { datasetType { name } filename }'
	@echo '        }'
	@echo '      }'
	@echo '    }'
	@echo
	$(BIN)/butlerql serve demo $(ARGS)

test: $(VENV)/dev.installed
	@if ! command -v npm >/dev/null; then echo 'No npm: tests of the explorer page are skipped.'; \
	else $(MAKE) --no-print-directory web; fi
	$(BIN)/pytest -n auto --dist worksteal -m 'not slow' $(ARGS)

slow: $(VENV)/dev.installed
	$(BIN)/pytest -n auto --dist worksteal -m slow $(ARGS)

lint: $(VENV)/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typing: $(VENV)/dev.installed
	$(BIN)/mypy

bench: $(VENV)/dev.installed
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/dev.installed
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -m hypothesis $(ARGS)

docs: $(VENV)/dev.installed
	$(BIN)/python docs/generate_reference.py

wheel: $(VENV)/dev.installed web
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python .ci/try_wheel.py dist/*.whl

clean:
	rm -rf build dist demo .cache butlerql/static
