# Everything a fresh machine needs is made here: `make demo` and `make test` are the two commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What tests compare with and run against, from Debian; `make servers` installs what is missing of it.
SERVERS := restic borgbackup ceph-mon ceph-osd ceph-common radosgw attr acl python3 chromium \
  openssh-server sudo busybox-static nginx-light redis-server postgresql mariadb-server lynis iproute2 tcpreplay tshark logrotate bzip2 xz-utils zstd gnupg \
  mariadb-backup pgbackrest rsyslog rsyslog-openssl nftables iptables systemd man-db groff-base rpm db-util procps

# The long one last; each also runs alone: .venv/bin/python -m bench.backup --help
BENCHES := seal packets dissect live falsealarms host hostevents integrity incident duty collect judging assess index_memory shipping \
  wan watch postgres mariadb agent backup

.DEFAULT_GOAL := help
.PHONY: help demo demo-s3 test lint servers bench soak clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/installed ## back up, ship, lose two centers, restore and prove it, in under a minute
	$(BIN)/govsec demo

demo-s3: $(VENV)/installed-test ## the same on three real SeaweedFS servers with object lock
	$(BIN)/python -m tests.support.demo_s3

test: $(VENV)/installed-test $(VENV)/oscal/installed ## the whole suite (what needs a missing server is named and skipped)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/installed-test ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Nothing that is installed here is started by the system (policy-rc.d): tests start their own.
servers: ## install the servers and tools that tests run against (Debian, as root)
	@missing=; for package in $(SERVERS); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -z "$$missing" ]; then echo "servers: all there"; exit 0; fi; \
	if ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ]; then \
	  echo "servers: missing; as root on Debian: apt-get install --no-install-recommends$$missing" >&2; exit 1; fi; \
	echo "servers: installing$$missing"; apt-get -qq update; \
	if [ ! -e /usr/sbin/policy-rc.d ]; then trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
	  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; fi; \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing </dev/null

bench: $(VENV)/installed-test ## side by side with restic, borg, pgBackRest and others; prints medians and ratios
	@code=0; for name in $(BENCHES); do echo "== bench.$$name"; $(BIN)/python -m bench.$$name || code=1; done; exit $$code

soak: $(VENV)/installed-test ## the long sweeps, kill loops and fuzzers
	$(BIN)/python -m pytest -m soak

clean: ## remove what was made
	rm -rf $(VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# python3-venv is a package of its own on Debian; root gets it, anyone else is told.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "govsec needs Python 3.11 or newer as $(PYTHON) (make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv </dev/null; \
	  else echo "python3-venv is missing: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

# With the driver of PostgreSQL, so that the demo shows a database where a server is installed.
$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[postgres]'
	@touch $@

# Reads what we write as OSCAL. Apart from the rest: it brings 40 packages, and one of them (defusedxml) would change how
# openpyxl parses, so that the suite would no longer meet what users have.
$(VENV)/oscal/installed: | $(VENV)/bin/python
	$(PIP) --target $(@D) 'compliance-trestle==5.2.0'
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[test,lint]'
	@touch $(VENV)/installed $@
