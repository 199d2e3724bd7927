# Everything here needs GNU make and Python 3.11 or later, nothing else; `make help` lists it.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= config/gateway.yaml
ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

# What is installed is remembered by a stamp, and installed anew when pyproject.toml changes.
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
QUALITY_READY := $(VENV)/.ready-quality
FUZZ_READY := $(VENV)/.ready-fuzz
CLIENTS_VENV := .venv-clients
CLIENTS_READY := $(CLIENTS_VENV)/.ready-clients

.DEFAULT_GOAL := help
.PHONY: help demo run test test-unit test-loopback test-interop test-clients test-load test-flood test-drops test-long \
	test-interop-long test-leaks fuzz lint bench asterisk asterisk-stop clean

# Calls, servers and clients, in real time.
LOOPBACK := tests/calls tests/cli tests/embedded tests/realtime tests/simulate tests/transport

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN_READY) ## place a real call to the gateway over loopback; leaves demo.wav
	$(BIN)/gateway demo --wav demo.wav $(ARGS)

run: $(RUN_READY) ## the gateway with CONFIG (config/gateway.yaml)
	$(BIN)/gateway run -c $(CONFIG) $(ARGS)

test: test-unit test-loopback test-interop ## every test; against a real Asterisk where one can be had (REQUIRE_ASTERISK=1: a skip fails)

# $(call in-time,TESTS,WORKERS): what fails beside others is run once more by itself, as another program may have had the
# machine. What is wrong fails twice.
define in-time
$(BIN)/pytest $(1) -o cache_dir=.pytest_cache/$@ -n $(2) --dist loadfile $(ARGS) || { status=$$?; [ $$status = 1 ] || exit $$status; \
	echo '== once more, one at a time'; \
	$(BIN)/pytest $(1) -o cache_dir=.pytest_cache/$@ --last-failed --last-failed-no-failures none $(ARGS); }
endef

test-unit: $(DEV_READY) $(QUALITY_READY) ## the tests that keep no time, on all cores
	$(BIN)/pytest --ignore=tests/interop $(LOOPBACK:%=--ignore=%) -n auto --dist loadfile $(ARGS)

test-loopback: $(DEV_READY) ## whole calls, servers and clients over loopback, in real time: they wait half of it
	$(call in-time,$(LOOPBACK),3)

test-interop: $(DEV_READY) ## those against a real Asterisk and other telephones, three at a time: they wait most of it
	$(call in-time,tests/interop,3)

test-clients: $(CLIENTS_READY) ## clients of OpenAI Realtime that others wrote speak with the embedded server
	$(CLIENTS_VENV)/bin/pytest tests/clients --confcutdir=tests/clients -W default $(ARGS)

test-load: $(DEV_READY) ## 20 calls at once through a real Asterisk for 60 s
	LOAD_CALLS=20 LOAD_SECONDS=60 $(BIN)/pytest -s tests/interop/test_load.py $(ARGS)

test-flood: $(DEV_READY) ## 2,000 messages a second of strangers for 60 s beside 10 calls
	FLOOD_CALLS=10 FLOOD_PER_S=2000 FLOOD_SECONDS=60 $(BIN)/pytest -s tests/cli/test_flood.py $(ARGS)

test-long: $(DEV_READY) ## 10,000 barge-ins, half an hour of drifting clocks, 3,000 calls over a bad wire, many more examples
	BARGE_INS=10000 DRIFT_MINUTES=30 SIP_CALLS=3000 EXAMPLES=2000 $(BIN)/pytest --timeout=1800 -n auto $(addprefix tests/, \
		calls/test_truncation.py media/test_impaired.py sip/test_calls_on_a_bad_wire.py dialplan/test_mutations.py \
		dialplan/test_rehearsed_calls.py calls/test_call_storm.py calls/tools/test_targets.py) $(ARGS)

test-drops: $(DEV_READY) ## 200 connections to the provider broken in 50 calls
	DROP_CALLS=50 DROPS=200 DROP_SECONDS=40 $(BIN)/pytest -s tests/cli/test_drops.py $(ARGS)

fuzz: $(DEV_READY) $(FUZZ_READY) ## every parser under atheris, FUZZ_SECONDS (60) each; FUZZ_TARGETS="sdp uri" only those
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

test-interop-long: $(DEV_READY) ## what takes minutes: session timers, 1000 CANCEL races, 1000 calls over a lossy wire
	INTEROP_LONG=1 CANCEL_RACES=1000 LOSS_CALLS=1000 LOST_CALLS=100 $(BIN)/pytest -s --timeout=1800 $(addprefix tests/interop/test_, \
		cancel.py loss.py registration.py session_timer.py sipp.py) $(ARGS)

test-leaks: $(DEV_READY) ## 10,000 short calls leave descriptors, memory, transactions and legs as they were
	LEAK_CALLS=10000 $(BIN)/pytest -s --timeout=1800 tests/interop/test_leaks.py $(ARGS)

lint: $(DEV_READY) ## formatting, lint rules, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(RUN_READY) ## micro-benchmarks, each beside its baseline
	$(BIN)/gateway bench all $(ARGS)

asterisk: ## install and start a real Asterisk on 127.0.0.1:5070 (root on Debian)
	$(PYTHON) -m tests.interop.pbx start

asterisk-stop: ## end it
	$(PYTHON) -m tests.interop.pbx stop

clean: ## remove all that was made here, the Asterisk too
	if [ -d .asterisk ]; then $(PYTHON) -m tests.interop.pbx stop; fi
	rm -rf $(VENV) .venv-* .asterisk .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo.wav

# Built from source: where there is no compiler, the tests that need it are left out and say so.
$(QUALITY_READY): $(DEV_READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[quality]' 2> $(VENV)/quality.log || { \
		echo 'pesq was not built (no C compiler or no Python headers?): the tests of speech quality are skipped;' \
			'see $(VENV)/quality.log' >&2; [ -z '$(REQUIRE_ASTERISK)' ]; }
	@touch $@

$(RUN_READY): EXTRA := local
$(DEV_READY): EXTRA := dev
$(FUZZ_READY): EXTRA := fuzz
# Apart from ours, whose versions theirs must not decide. Most of it is never imported: compiling it all takes longest.
$(CLIENTS_READY): EXTRA := clients
$(CLIENTS_READY): VENV := $(CLIENTS_VENV)
$(CLIENTS_READY): BIN := $(CLIENTS_VENV)/bin
$(CLIENTS_READY): PIP_ARGS := --no-compile
$(RUN_READY) $(DEV_READY) $(FUZZ_READY) $(CLIENTS_READY): pyproject.toml
	@[ -n '$(PYTHON)' ] || { \
		echo 'No Python 3.11 or later found as python3: install one, or say make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo '$(PYTHON) is not Python 3.11 or later: say make PYTHON=/path/to/a/newer/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo '$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv' >&2; exit 1; }
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable '.[$(EXTRA)]'
	@touch $@
