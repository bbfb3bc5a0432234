# make serve   run the server (http://127.0.0.1:8000), on a sample pool unless STUDIES= is given
# make weights ENCODER=radimagenet   download an encoder (docs/encoders.md)
# make app     a new app: NAME=liver_ct LABELS="liver,spleen", like FROM=cxr_lungs
# make pages   build the web pages after a change in server/pages/src (needs node 18 or newer)
# make test    run the tests          make lint    ruff and mypy          make setup   the environment of the server alone
# make lock    renew deploy/requirements*.txt, with LOCK=--upgrade in the newest versions that fit
# make licences   list and check those of the packages     make sbom   the packages as CycloneDX, in SBOM=sbom.json
# make test-container   build the image and start the server in it (tests/deploy/container.sh says what that needs)
# make test-long   the tests in their long form: whole sizes, and each server started as a command

# What MONAI Label 0.8.5 and the lock run on
FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
READY := $(VENV)/.ready
PACKAGES := $(VENV)/.packages
TEST_READY := $(VENV)/.ready-test
PIP := $(VENV)/bin/pip --disable-pip-version-check
TOOLS := .tools
LOCKED := install --no-deps --require-hashes --progress-bar on
APP ?= apps/cxr_lungs
PORT ?= 8000
CONF ?=
FROM ?= cxr_lungs
SAMPLE := sample
WEIGHTS ?= weights
SBOM ?= sbom.json
IN_MEMORY = $(shell [ "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 8000000 ] 2>/dev/null && echo TMPDIR=/dev/shm)

.PHONY: setup packages serve weights app pages lock licences sbom test test-long test-container lint clean
.DELETE_ON_ERROR:

setup: $(READY)

# what changes seldom, so that an image built for a container keeps it
packages: $(PACKAGES)

$(PACKAGES): constraints.txt deploy/requirements.txt
	$(if $(shell $(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null && echo yes),,$(error Python 3.11, 3.12 or 3.13 with venv \
		is needed. Name one: make PYTHON=/path/to/python3.12))
	@echo "1/3 The packages of the server (deploy/requirements.txt)"
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(LOCKED) -r deploy/requirements.txt
	@echo "2/3 PyTorch: the build for this machine, with CUDA where that is the default (2 GB to download)"
	$(PIP) install --progress-bar on --no-warn-conflicts -c constraints.txt torch
	@touch $@

$(READY): $(PACKAGES) setup.cfg pyproject.toml
	@echo "3/3 This project"
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(TEST_READY): $(READY) deploy/requirements-test.txt
	@echo "The packages of the tests (deploy/requirements-test.txt)"
	$(PIP) $(LOCKED) -r deploy/requirements-test.txt
	@touch $@

serve: $(READY)
ifndef STUDIES
	$(VENV)/bin/python -m benchmarks.phantoms --out $(SAMPLE)
endif
	$(VENV)/bin/scan-selection serve --app "$(APP)" \
		--studies "$(or $(STUDIES),$(SAMPLE)/studies)" --port $(PORT) $(CONF)

weights: $(READY)
	$(VENV)/bin/python -m infers.encoders.weights "$(ENCODER)" --out "$(WEIGHTS)" $(if $(SHA256),--sha256 $(SHA256))

app: $(READY)
	$(VENV)/bin/python -m server.new_app "$(NAME)" --from "$(FROM)" --labels "$(LABELS)"

# uv resolves, and pip installs: uv stays out of the environment
lock:
	test -x $(TOOLS)/bin/uv || { $(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/pip install -c constraints.txt uv; }
	PATH="$(abspath $(TOOLS))/bin:$$PATH" $(TOOLS)/bin/python deploy/lock.py $(LOCK)

licences: $(READY)
	$(VENV)/bin/python deploy/licences.py

# CycloneDX, from the environment of the server; cyclonedx-py stays out of it
sbom: $(READY)
	test -x $(TOOLS)/bin/cyclonedx-py || { $(PYTHON) -m venv $(TOOLS) && \
		$(TOOLS)/bin/pip install -c constraints.txt cyclonedx-bom; }
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --output-file $(SBOM) $(VENV)/bin/python

pages:
	cd server/pages && npm ci --ignore-scripts --no-audit --no-fund && npm run all

# Where 8 GB of memory are free for files, those of the tests, 2 GB, lie there: databases wait for disks. What the tests
# start hundreds of times is compiled once, even where the environment says otherwise.
test: $(TEST_READY)
	$(IN_MEMORY) PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -c setup.cfg -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-long:
	$(MAKE) test PYTEST_ARGS="--long $(PYTEST_ARGS)"

test-container: $(READY)
	tests/deploy/container.sh

lint: $(TEST_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(TOOLS) $(SAMPLE) *.egg-info
