# `make demo` and `make test` set up what they need, once: a virtual environment in .venv (without
# ensurepip, which a bare Debian does not have), and for the tests Chromium and redis-server.

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(PYTHON) -m pip --quiet --disable-pip-version-check --python $(RUN) install

.PHONY: demo test lint types check bench fuzz system clean

demo: $(VENV)/ready-demo
	@exec $(RUN) -m actorstate run examples/demo.py --port $(PORT)

test: $(VENV)/ready-dev system lint types check

lint: $(VENV)/ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/ready-dev
	$(VENV)/bin/basedpyright
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" basedpyright --verifytypes actorstate --ignoreexternal

check: $(VENV)/ready-dev
	$(RUN) -m pytest

bench: $(VENV)/ready-dev
	$(RUN) tests/benchmarks/state.py
	$(RUN) tests/benchmarks/stores.py
	$(RUN) tests/benchmarks/run.py
	$(RUN) tests/benchmarks/redis.py

# FUZZ_SECONDS=600 make fuzz; without atheris it says so, and fails.
fuzz: $(VENV)/ready-dev
	-$(INSTALL) atheris
	PYTHONPATH=tests $(RUN) tests/fuzz_atheris.py

system:
	@sh .ci/system-packages chromium redis-server

clean:
	rm -rf $(VENV) .fuzz .hypothesis .pytest_cache .ruff_cache

$(RUN):
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/ready-demo: pyproject.toml | $(RUN)
	$(INSTALL) --editable '.[examples]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml | $(RUN)
	$(INSTALL) --editable '.[dev,redis,asyncio]'
	@touch $@ $(VENV)/ready-demo
