# psic: what can be done here. `make` or `make help` lists it.
# On a machine with Python (3.10 to 3.14, with its module venv) everything else is installed into .venv on first use.

PYTHON ?= python3
# With the processor-only builds of PyTorch, which are much smaller:
#   make demo TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch torchvision
VENV ?= .venv
BIN := $(VENV)/bin
# Python compiles a module when it is first imported; all 20000 of them would take two minutes, and most are never used.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile

# Stamps: made when an install has succeeded, out of date when pyproject.toml changes.
TO_RUN := $(VENV)/.psic-installed
TO_TEST := $(VENV)/.psic-installed-for-tests

PHOTO ?= sample_images/coffee.png
ORIGINAL = demo/original$(suffix $(PHOTO))

.DEFAULT_GOAL := help
.PHONY: help demo test format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(TO_RUN) ## encode a photo, decode it with and without its key, and audit it, into demo/
	@mkdir -p demo
	@test -e demo/key.bin || $(BIN)/psic keygen demo/key.bin
	@cp -f "$(PHOTO)" "$(ORIGINAL)"
	$(BIN)/psic encode --force --condition demo/key.bin "$(PHOTO)" -o demo/photo.psic
	$(BIN)/psic decode --force demo/photo.psic -o demo/protected.png
	$(BIN)/psic decode --force --condition demo/key.bin demo/photo.psic -o demo/full.png
	$(BIN)/psic info demo/photo.psic
	$(BIN)/psic audit --force --original "$(ORIGINAL)" --condition demo/key.bin demo/photo.psic -o demo/audit.html
	@echo
	@echo "Compare the three pictures, and see what two vision-language models read in them:"
	@echo "  $(ORIGINAL)   the photo as it was"
	@echo "  demo/protected.png  what anybody decodes from demo/photo.psic"
	@echo "  demo/full.png       what the holder of demo/key.bin decodes from the same file"
	@echo "  demo/audit.html     the three side by side, with what is read in each: open it in a browser"

test: $(TO_TEST) ## check format, lint and types, then run all tests that need no GPU
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not gpu and not compile"

format: $(TO_TEST) ## put the source into the project's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove caches; pictures, keys, runs and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find psic_cli tests sample_images -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "psic needs Python 3.10 or later: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)

# torch and torchvision in one step, so that they come from one index and fit each other.
$(TO_RUN): pyproject.toml | $(BIN)/python
	@echo "installing psic and what it needs into $(VENV): some minutes the first time"
	$(INSTALL) $(TORCH)
	$(INSTALL) -e .
	@touch $@

$(TO_TEST): pyproject.toml $(TO_RUN)
	$(INSTALL) -e '.[dev,train,evaluate,compressai,ray]'
	@touch $@
