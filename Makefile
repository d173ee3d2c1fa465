.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(VENV)/bin/python
BIN := $(VENV)/bin
STUBS := client/tierwise/v1
PROTOS := $(shell cd proto && find tierwise -name '*.proto' | sort)
BASELINE := proto/released.binpb
CATALOG ?= utterances
LISTEN ?= 127.0.0.1:50051
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := catalog_file token_file routing_input outcome decision_token
SOAK_SECONDS ?= 3600
# The shipped thresholds were chosen on the cases already.
OBJECTIVE ?= --keep-thresholds

export TIERWISE_CACHE_DIR ?= $(CURDIR)/.cache

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install encoder ## Set everything up, start a server and watch prompts being routed
	$(BIN)/python tests/demo.py

.PHONY: install
install: $(VENV)/installed ## Create the virtual environment and install the project with its tools

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q -c constraints.txt torch
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[server,postgres,otel,encoder,json-schema,dev]'
	@touch $@

.PHONY: encoder
encoder: install ## Build the default encoder, unless it is there
	$(BIN)/tierwise encoder build --if-missing

.PHONY: run
run: encoder ## Serve the shipped catalog on localhost
	$(BIN)/tierwise serve --listen $(LISTEN) --catalog $(CATALOG)

.PHONY: test
test: install ## Run every test, with the real encoder
	$(PYTHON) -m pytest

.PHONY: check
check: contract lint eval-files ## Check the contract, the code and the catalog's files

.PHONY: lint
lint: install ## Check format, style, imports and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

.PHONY: format
format: install ## Bring the code into its format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: contract
contract: install ## Lint the contract, compare it with the released one, and the stubs with it
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	$(BIN)/buf breaking proto --against $(BASELINE)
	@rm -rf .stubs.old && cp -r $(STUBS) .stubs.old && $(MAKE) --no-print-directory -s proto; \
	  diff -rq -x __pycache__ .stubs.old $(STUBS); code=$$?; rm -rf .stubs.old; exit $$code

.PHONY: eval-files
eval-files: encoder ## Check the shipped catalog and run its held-out cases
	$(BIN)/tierwise check $(CATALOG)
	$(BIN)/tierwise evaluate --catalog $(CATALOG)
	$(BIN)/tierwise calibrate --check --catalog $(CATALOG)

.PHONY: calibrate
calibrate: encoder ## Fit the shipped catalog's confidence to its cases (YES=1 writes it)
	$(BIN)/tierwise calibrate --catalog $(CATALOG) $(OBJECTIVE) $(if $(YES),--yes)

.PHONY: bench
bench: encoder ## Run the benchmarks (EVAL_DATA=folder adds those on public data)
	$(PYTHON) tests/benchmarks/run.py $(if $(EVAL_DATA),--eval-data $(EVAL_DATA))

.PHONY: fuzz
fuzz: install ## Fuzz what reads files and messages, guided by coverage (FUZZ_SECONDS for each target)
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[fuzz]'
	for target in $(FUZZ_TARGETS); do \
	  $(PYTHON) tests/fuzz/fuzz.py $$target $(FUZZ_SECONDS) || exit 1; done

.PHONY: soak
soak: encoder ## Disturb a server and its clients for an hour (SOAK_SECONDS), and look for what wears out
	$(PYTHON) tests/benchmarks/soak.py --check --seconds $(SOAK_SECONDS)

.PHONY: proto
proto: install ## Regenerate the gRPC stubs from proto/
	rm -rf $(STUBS)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTHON) -m grpc_tools.protoc -I proto --python_out=client --grpc_python_out=client \
	    --mypy_out=quiet:client --mypy_grpc_out=quiet:client $(PROTOS)
	@for f in $(STUBS)/*_pb2_grpc.py; do case $$f in *_service_pb2_grpc.py) ;; *) rm $$f $${f}i;; esac; done
	@echo '"""Generated from proto/tierwise/v1. Run make proto."""' > $(STUBS)/__init__.py

AUDIT := .cache/audit/bin

$(AUDIT)/pip-audit:
	python3 -m venv .cache/audit
	$(AUDIT)/python -m pip install -q pip-audit cyclonedx-bom

.PHONY: audit
audit: $(AUDIT)/pip-audit ## Look the pinned packages up among known vulnerabilities
	$(AUDIT)/pip-audit -r constraints.txt --no-deps --disable-pip

.PHONY: sbom
sbom: install $(AUDIT)/pip-audit ## Write the bill of materials of this environment to dist/sbom.json
	@mkdir -p dist
	$(AUDIT)/cyclonedx-py environment $(PYTHON) -o dist/sbom.json

.PHONY: docs
docs: install ## Bring the README's table of settings up to date
	$(PYTHON) tests/readme.py

.PHONY: release-proto
release-proto: install ## Record the contract as released: what later changes must not break
	$(BIN)/buf build proto --exclude-source-info -o $(BASELINE)

.PHONY: clean
clean: ## Remove what was built, the virtual environment and caches included
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache dist .hypothesis
