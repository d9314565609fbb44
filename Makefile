# Kindling's tasks. One profile (release) and one package selection everywhere, so that nothing is
# compiled twice.
#
#   make demo    record the demo workload, or take a sample, and replay it
#   make test    every test that this machine allows

# Where rustup puts cargo, and where Debian puts servers, if the shell does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
export CARGO_TARGET_DIR ?= $(CURDIR)/target

# The recorder is for Linux; everything else runs anywhere.
ifeq ($(shell uname),Linux)
export PACKAGES := --workspace
else
export PACKAGES := -p kindling-format -p kindling-replay
endif
BUILD := --release --locked $(PACKAGES)

.PHONY: help setup build demo test lint man samples bench soak kernels fuzz

help:
	@echo 'make demo     record the demo workload, or take a sample, and replay it (needs root to record)'
	@echo 'make test     every test that this machine allows'
	@echo 'make lint     format, clippy, documentation, shell scripts, portability'
	@echo 'make man      man pages and shell completions, into target/manual'
	@echo 'make samples  record the captures of samples/ anew'
	@echo 'make bench    what recording and replaying cost, measured here'
	@echo 'make soak     five minutes of Redis at full load, recorded, and judged (SOAK_SECONDS=300)'
	@echo 'make kernels  record on other kernels, each booted in an emulator, and count (needs qemu-system-x86)'
	@echo 'make fuzz     damaged captures against every command (FUZZ_SECONDS=60)'

setup:
	@scripts/setup.sh

build: setup
	cargo build $(BUILD)

demo: build
	@scripts/demo.sh

test: build
	@scripts/test.sh

lint: setup
	cargo fmt --all --check
	cargo clippy $(BUILD) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(BUILD) --no-deps
	$(MAKE) man
	@scripts/check-portable.sh
	@scripts/check-shell.sh

man:
	cargo build $(BUILD) --examples
	$(CARGO_TARGET_DIR)/release/examples/manual $(CARGO_TARGET_DIR)/manual

samples: build
	@scripts/record-samples.sh

bench: build
	@scripts/bench.sh

soak: build
	@scripts/soak.sh $(or $(SOAK_SECONDS),300)

kernels: build
	@scripts/kernels/run.sh

fuzz: build
	@scripts/fuzz.py --seconds $(or $(FUZZ_SECONDS),60)
