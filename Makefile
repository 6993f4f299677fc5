# Every target installs what it needs. Python 3.11 or newer, git and make are enough.

PYTHON ?= python3
# Passed on to pytest and to the demo: make test ARGS="-k names"
ARGS ?=

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
PEERS_STAMP := $(PEERS)/.made
# The libraries that Holotype is compared with, in their current versions.
PEER_PACKAGES := torch torchvision timm birder open_clip_torch transformers efficientnet-lite-pytorch

# A mirror beside the repository, if there is one: protein and weight files by sha256, the bytes that users fetch.
ifeq ($(origin HOLOTYPE_MIRRORS),undefined)
ifneq ($(wildcard ../shared/mirror/FORMAT),)
export HOLOTYPE_MIRRORS := $(CURDIR)/../shared/mirror
endif
endif

# Keeps modules of other environments out, and keeps compiled bytecode for the next run.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check parity bench fix clean peers

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: $(STAMP)  ## do the main job on real input, in about three minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py $(ARGS)

test: $(STAMP)  ## run every test that needs no other library
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

check: $(STAMP)  ## check lint, format, types, layers, and the examples and links of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/docs

parity: $(PEERS_STAMP)  ## compare results with the public implementations, in .venv-peers
	# Birder imports setuptools late; its own distutils conflicts with a distutils that is already loaded.
	SETUPTOOLS_USE_DISTUTILS=stdlib $(PEERS)/bin/python -m pytest -W default tests/parity $(ARGS)

bench: $(STAMP) $(PEERS_STAMP)  ## measure speed, as ratios to other libraries in one run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/interactome.py
	$(BIN)/python benchmarks/training.py
	SETUPTOOLS_USE_DISTUTILS=stdlib $(PEERS)/bin/python benchmarks/vision.py

fix: $(STAMP)  ## format, and apply the linter's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

peers: $(PEERS_STAMP)  ## make .venv-peers only (several GB), for parity and bench

clean:  ## remove everything that make created
	rm -rf $(VENV) $(PEERS) .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make-venv FOLDER: updates an environment that works, and makes a broken one again.
define make-venv
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Holotype needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip
endef

$(STAMP): pyproject.toml constraints.txt
	$(call make-venv,$(VENV))
	$(BIN)/python -m pip install --quiet -c constraints.txt --build-constraint constraints.txt -e '.[vision-training,proteins]' --group dev
	@touch $@

$(PEERS_STAMP): pyproject.toml constraints.txt
	$(call make-venv,$(PEERS))
	$(PEERS)/bin/python -m pip install --quiet --build-constraint constraints.txt -e '.[vision]' $(PEER_PACKAGES) pytest
	@touch $@
