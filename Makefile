# proxmaint: the commands of its developers. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test real large fmt lint unit check-tools bench fuzz-edit deny clean

CARGO ?= cargo
SHELL := /bin/bash
LOG = $${CARGO_TARGET_DIR:-target}/test.log

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check-tools:
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust with cargo (https://rustup.rs)"; exit 1; }
	@$(CARGO) fmt --version >/dev/null 2>&1 || { echo "missing: rustfmt (rustup component add rustfmt)"; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { echo "missing: clippy (rustup component add clippy)"; exit 1; }

demo: ## Maintains a simulated fleet, kills the tool half-way, and goes on (needs nothing but Rust)
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust with cargo (https://rustup.rs)"; exit 1; }
	@$(CARGO) build --quiet --bin proxmaint --package proxmaint --bin proxmaint-lab --package proxmaint-lab
	@tests/demo/fleet.sh

demo-cluster: ## Empties, upgrades, reboots and refills the nodes of a simulated cluster, and rolls a broken guest back
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust with cargo (https://rustup.rs)"; exit 1; }
	@$(CARGO) build --quiet --bin proxmaint --package proxmaint --bin proxmaint-lab --package proxmaint-lab
	@tests/demo/cluster.sh

test: check-tools fmt lint unit ## Runs the whole suite: format, lints, unit, integration, simulation and doc tests

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Most tests wait for what they started: two a processor keep it busy.
TEST_THREADS ?= $$((2 * $$(getconf _NPROCESSORS_ONLN)))

# What a check could not do here it says in a line `not run: ..`; the lines are counted and shown again at the end.
unit:
	@set -o pipefail; RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace --locked 2>&1 | tee $(LOG)
	@grep '^not run: ' $(LOG) | sort | uniq -c || true
	@awk '/^not run: /{n++} END{print n+0 " checks not run"}' $(LOG)

# Debian's names of what the tests want; those that are not there are installed, and what can't be is named. Nothing else on this
# machine changes: the tests run in namespaces of their own.
REAL_PACKAGES = createrepo-c dnf pacman-package-manager rpm zypper
REAL_LOG = $${CARGO_TARGET_DIR:-target}/real.log

real: check-tools ## Tests with the real apt, dnf, zypper and pacman (as root, on Debian; installs what is missing)
	@[ "$$(id -u)" = 0 ] || { echo "make real: to be run by root: it makes namespaces with file systems of their own"; exit 1; }
	@missing=; for package in $(REAL_PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove $$missing >/dev/null || \
			echo "could not be installed, so some of it is not run:$$missing"; \
	fi
	@set -o pipefail; $(CARGO) test --locked --test real 2>&1 | tee $(REAL_LOG)
	@grep '^not run: ' $(REAL_LOG) | sort | uniq -c || true
	@awk '/^not run: /{n++} END{print n+0 " checks with real package managers not run"}' $(REAL_LOG)

# Seeds that are played on 50 nodes with 1,000 guests.
LARGE_SEEDS ?= 1

large: check-tools ## Simulates a cluster of 50 nodes with 1,000 guests, with random faults and crashes
	LARGE_NODES=50 LARGE_SEEDS=$(LARGE_SEEDS) $(CARGO) test --locked --test sim large -- --nocapture

bench: ## Measures the journal, and a fleet of 1,000 hosts on a journal of a million events
	$(CARGO) bench --bench journal
	$(CARGO) bench --bench scale

fuzz-edit: ## Makes a million random edits of random manifests (EDITS=N, SEED=N)
	PROXMAINT_EDIT_CASES=$${EDITS:-1000000} PROXMAINT_EDIT_SEED=$${SEED:-0} $(CARGO) test --release --locked --test manifest edit_property

deny: ## Checks licences, bans and sources of all dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "missing: cargo-deny (cargo install cargo-deny)"; exit 1; }
	cargo deny --config .deny.toml check licenses bans sources
