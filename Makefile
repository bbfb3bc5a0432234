# make serve   run the server (http://127.0.0.1:8000), on a sample pool unless STUDIES= is given
# make weights ENCODER=radimagenet   download an encoder (docs/encoders.md)
# make app     a new app: NAME=liver_ct LABELS="liver,spleen", like FROM=cxr_lungs
# make pages   build the web pages after a change in server/pages/src (needs node 18 or newer)
# make test    run the tests          make lint    ruff and mypy          make setup   the environment alone
# make test-long   the tests in their long form: whole sizes, and each server started as a command

# Python 3.10 or 3.11: what MONAI Label 0.8.5 runs on
PYTHON ?= $(shell for p in python3.11 python3.10 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
READY := $(VENV)/.ready
APP ?= apps/cxr_lungs
PORT ?= 8000
CONF ?=
FROM ?= cxr_lungs
SAMPLE := sample
WEIGHTS ?= weights

.PHONY: setup serve weights app pages test test-long lint clean
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 or 3.11 with venv is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade -c constraints.txt -e '.[test]'
	$(VENV)/bin/pip install --quiet --no-deps monailabel==0.8.5
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

pages:
	cd server/pages && npm ci --ignore-scripts --no-audit --no-fund && npm run all

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -c setup.cfg -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-long:
	$(MAKE) test PYTEST_ARGS="--long $(PYTEST_ARGS)"

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(SAMPLE) *.egg-info
