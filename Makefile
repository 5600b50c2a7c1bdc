# What a developer runs, and what CI runs: .ci/run calls the same targets.
#
#   make            builds bigroom and runs it on embedded storage in ./data
#   make help       lists the targets
#
# CARGO_TARGET_DIR, CARGO_PROFILE_* and the like reach cargo as usual. scripts/build-rocksdb lists what moves RocksDB's cache.

# The recipes are plain bash; a failure inside a pipe or a substitution fails the target.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := run
MAKEFLAGS += --no-builtin-rules --no-print-directory

# RocksDB is built once per machine, not once per profile, and linked statically by every cargo command here. All of them must
# see the same two variables: cargo rebuilds the bindings and everything above them whenever the values change.
with_rocksdb = scripts/install-prerequisites; \
    ROCKSDB_LIB_DIR=$$(scripts/build-rocksdb); export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1;

.PHONY: run
run: ## build a release and run it on embedded storage in ./data; ARGS="--listen 0.0.0.0:8080" passes flags
	@$(with_rocksdb) exec cargo run --release --locked --bin bigroom -- serve $(ARGS)

.PHONY: build
build: ## build the release binary, target/release/bigroom
	@$(with_rocksdb) cargo build --release --locked --bin bigroom

.PHONY: cluster
cluster: build ## build a release and start a whole cluster of it on loopback; deploy/local/README.md has more
	@deploy/local/cluster start

.PHONY: cluster-stop
cluster-stop: ## end that cluster
	@deploy/local/cluster stop

.PHONY: test
# nextest closes with one summary of all binaries; it does not run doc tests, so those go first.
test: ## run all tests, with cargo-nextest where it is installed
	@scripts/install-prerequisites test; $(with_rocksdb) \
	if command -v cargo-nextest >/dev/null; then \
	    cargo test --workspace --locked --doc; \
	    cargo nextest run --workspace --locked; \
	else \
	    cargo test --workspace --locked; \
	fi

.PHONY: check
check: fmt-check clippy docs deps-check ## everything CI checks besides the tests

.PHONY: fmt-check
fmt-check: ## formatting (cargo fmt --all repairs it)
	@cargo fmt --all --check

.PHONY: clippy
clippy: ## lints of all targets, warnings denied
	@$(with_rocksdb) cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: docs
docs: ## API documentation, warnings denied
	@$(with_rocksdb) RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

.PHONY: deps-check
# Neither tool is needed to work on bigroom, and neither may need the network: known vulnerabilities are checked where a copy
# of the advisory database is at hand.
deps-check: ## licences, sources and duplicates of dependencies; known vulnerabilities; skips what is not installed
	@if command -v cargo-deny >/dev/null; then \
	    cargo deny --offline --locked check --hide-inclusion-graph bans licenses sources; \
	else \
	    echo "skipped: cargo-deny is not installed, so deny.toml was not checked"; \
	fi
	@if ! command -v cargo-audit >/dev/null; then \
	    echo "skipped: cargo-audit is not installed, so known vulnerabilities were not checked"; \
	elif [ ! -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-db" ]; then \
	    echo "skipped: cargo-audit has no advisory database here; run 'cargo audit' once with a network"; \
	else \
	    cargo audit --no-fetch; \
	fi

# What the comparison runs, built by one cargo command, so that all of it is of the same source.
built_for_bench = $(with_rocksdb) \
	cargo build --release --locked -p bigroom -p bigroom-store -p bigroom-loadtest --bin bigroom --bin loadtest --example append_bench; \
	release="$${CARGO_TARGET_DIR:-target}/release"; \
	compare() { "$$release/loadtest" compare --server "$$release/bigroom" "$$@"; };

.PHONY: bench
# Nothing else should run meanwhile: the report says what did.
bench: ## measure what it costs, beside a floor and peers, into docs/benchmarks; ARGS="--quick" only shows that it works
	@$(built_for_bench) \
	compare --append-bench "$$release/examples/append_bench" $(or $(ARGS),--out docs/benchmarks)

.PHONY: fuzz
# Without a finding, it takes FUZZ_SECONDS (600) a target. TARGETS="http1 json" names some of them.
fuzz: ## fuzz every parser and decoder, each for FUZZ_SECONDS=600; fuzz/README.md has more
	@$(with_rocksdb) scripts/fuzz $(TARGETS)

.PHONY: bench-check
# Not a part of the tests: it needs a quiet machine and some minutes. ARGS="--write-baseline docs/benchmarks/baseline.json"
# writes the baseline anew, which belongs into the commit that moved the figures. BEFORE=COMMIT plays a build of that commit
# beside, at best the baseline's: what that has as well is the machine's doing.
bench-check: ## fail if a cost beside the floor got worse than in docs/benchmarks/baseline.json by more than 15 %
	@$(built_for_bench) \
	$(if $(BEFORE),before=$$(scripts/build-commit $(BEFORE));) \
	compare $(or $(ARGS),--check docs/benchmarks/baseline.json) $(if $(BEFORE),--before "$$before")

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 14
