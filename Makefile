# Every target builds what it needs from nothing: Python 3.11 or newer, git and make suffice.

PYTHON ?= python3
# Passed on to pytest and to the demo: make test ARGS="-k names"
ARGS ?=

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
PEERS_STAMP := $(PEERS)/.made
# The libraries that Holotype is measured against, as a user would get them today.
PEER_PACKAGES := torch torchvision timm birder open_clip_torch transformers efficientnet-lite-pytorch

# Protein and weight files by sha256, where a copy lies beside the repository. Users fetch the same bytes.
ifeq ($(origin HOLOTYPE_MIRRORS),undefined)
ifneq ($(wildcard ../shared/mirror/FORMAT),)
export HOLOTYPE_MIRRORS := $(CURDIR)/../shared/mirror
endif
endif

# Another environment's modules have no business in these; and what is compiled once need not be again.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check parity bench fix clean peers

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: $(STAMP)  ## the main job on real input, in about three minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py $(ARGS)

test: $(STAMP)  ## every test that needs no other library
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

check: $(STAMP)  ## lint, format, types, layers, and the examples and links of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/docs

parity: $(PEERS_STAMP)  ## the same numbers as the public implementations, in .venv-peers
	# Birder loads setuptools late, whose own distutils then quarrels with one that is loaded already.
	SETUPTOOLS_USE_DISTUTILS=stdlib $(PEERS)/bin/python -m pytest -W default tests/parity $(ARGS)

bench: $(STAMP) $(PEERS_STAMP)  ## speed, as ratios against other libraries in one run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/interactome.py
	$(BIN)/python benchmarks/training.py
	SETUPTOOLS_USE_DISTUTILS=stdlib $(PEERS)/bin/python benchmarks/vision.py

fix: $(STAMP)  ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

peers: $(PEERS_STAMP)  ## only make .venv-peers: several GB, for parity and bench

clean:  ## remove everything that make has made
	rm -rf $(VENV) $(PEERS) .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make-venv FOLDER: a working environment stays and is updated; a broken one is made anew.
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
