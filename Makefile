# Everything a person does here. `make serve` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
PARITY := .venv-parity
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --no-emit-index-url

# Tests run in so many processes. Each takes whole files, so that what a file sets up is set up once.
WORKERS ?= 2

.PHONY: serve rehearse extras test soak audit check parity bench docs lock clean help
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.base  ## set up and serve on http://127.0.0.1:8000
	$(BIN)/sightline serve

rehearse: $(VENV)/.base  ## serve made-up answers of the right shape, without any download of weights
	$(BIN)/sightline serve --rehearse

extras: $(VENV)/.base  ## add what training and questions to a vision-language model need
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/extras.txt

test: $(VENV)/.dev  ## set up and run the tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

soak: $(VENV)/.dev  ## attack a rehearsing server at full length (about three hours; SOAK_S=600 shortens the soak)
	$(BIN)/pytest tests/attack --long --timeout 0

audit: $(VENV)/.dev  ## look for known vulnerabilities of the locked requirements
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python .ci/audit.py requirements/base.txt requirements/extras.txt

check: $(VENV)/.dev  ## lint, types, import rules
	$(BIN)/ruff format --check src tests bench docs .ci
	$(BIN)/ruff check src tests bench docs .ci
	$(BIN)/mypy
	$(BIN)/lint-imports

parity: $(PARITY)/.done  ## compare full-size models with the reference libraries (downloads torch, 6 GB)
	$(PARITY)/bin/pytest -m parity tests/parity

bench: $(PARITY)/.done  ## measure against a plain PyTorch server on the same weights
	$(PARITY)/bin/python -m bench

docs: $(VENV)/.dev  ## renew the generated pages of docs/
	$(BIN)/python docs/tables.py

lock: $(VENV)/bin/uv  ## renew the locked requirements
	$(LOCK) pyproject.toml -o requirements/base.txt
	$(LOCK) pyproject.toml --all-extras -o requirements/extras.txt
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml requirements/parity.in --all-extras --group dev -c requirements/dev.txt -o requirements/parity.txt

clean:  ## remove the environments
	rm -rf $(VENV) $(PARITY)

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sightline needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.9"

$(VENV)/.base: $(VENV)/bin/uv requirements/base.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/base.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base requirements/dev.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

$(PARITY)/.done: $(VENV)/bin/uv requirements/parity.txt requirements/nodeps.txt
	$(PYTHON) -m venv $(PARITY)
	$(BIN)/uv pip install -q --python $(PARITY)/bin/python --require-hashes -r requirements/parity.txt
	$(BIN)/uv pip install -q --python $(PARITY)/bin/python --require-hashes --no-deps -r requirements/nodeps.txt
	$(BIN)/uv pip install -q --python $(PARITY)/bin/python --no-deps -e .
	@touch $@
