# SPDX-License-Identifier: MIT OR Apache-2.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help build test test-dates demo docs bench load static fuzz install setup
help: ## list the targets
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary, target/release/oxtree
	cargo build --locked --release --package oxtree

test: setup ## every check: format, lints, licences, docs, all tests, the static binary
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/check-deps
	scripts/check-words docs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md benches packaging \
	  crates/gvariant/src crates/rofiles/src crates/sign/src crates/format/src crates/repo/examples
	benches/bench --list >/dev/null
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo test --locked --workspace
	cargo test --locked --package oxtree-repo --lib
	cargo check --locked --package oxtree --no-default-features
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings
	scripts/build-static static-test
	scripts/test-static '$(TARGET)/static/static-test/oxtree'

test-dates: setup ## the tests on other days; TESTS='face serve' DATES='2028-02-29 2038-01-20'
	scripts/test-dates $(addprefix -t ,$(TESTS)) $(DATES)

demo: setup ## publish a real Debian tree over SSH, end to end
	scripts/demo

# The binary that builds the book, at a fixed version.
MDBOOK := $(TARGET)/tools/mdbook-0.5.4/bin/mdbook
docs: $(MDBOOK) ## the documentation as a book, target/book/index.html
	$(MDBOOK) build docs

$(MDBOOK):
	cargo install --locked --root '$(@D:/bin=)' --version '$(@D:$(TARGET)/tools/mdbook-%/bin=%)' \
	  --no-default-features --features search mdbook

bench: SETUP := bench
bench: setup build ## measure beside ostree, ostree-push and rsync; CASES='ssh-*-wan ls' (benches/README.md)
	benches/bench --binary '$(TARGET)/release/oxtree' $(if $(WORK),--work '$(WORK)') $(if $(TREES),--trees '$(TREES)') \
	  $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(CONTENDERS),--contenders '$(CONTENDERS)') $(if $(SLOW),--slow) \
	  $(foreach case,$(CASES),'$(case)')

load: build ## 64 push to one server for five minutes (SECONDS=300) while all are killed; 1000 pushes; HTTP/2 attacks
	OXTREE_LOAD_SECONDS=$(or $(SECONDS),300) OXTREE_LOAD_BINARY=$(abspath $(TARGET)/release/oxtree) \
	  cargo test --locked --package oxtree --test crowd load -- --nocapture
	ulimit -n "$$(ulimit -Hn)" && OXTREE_PUSHES=1000 OXTREE_IDLE=10000 \
	  cargo test --locked --package oxtree --test serve -- rush:: hostile::idle --nocapture
	ulimit -n "$$(ulimit -Hn)" && for connections in 20 200; do OXTREE_STALLED=$$connections \
	  cargo test --locked --package oxtree --test serve -- http2:: --nocapture --test-threads=1 || exit 1; done

static: ## a release binary without any shared library, target/static/oxtree
	scripts/build-static

fuzz: ## fuzz every parser for a minute, after a million damaged repositories
	scripts/fuzz

install: build ## install under $(DESTDIR)$(PREFIX); WITH_OSTREE_LINK=1 also answers as ostree
	install -D -m 755 $(TARGET)/release/oxtree $(DESTDIR)$(BINDIR)/oxtree
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/oxtree LICENSE-MIT LICENSE-APACHE THIRD-PARTY.md SECURITY.md
	$(DESTDIR)$(BINDIR)/oxtree install-links --force $(DESTDIR)$(BINDIR)
	$(TARGET)/release/oxtree man $(DESTDIR)$(PREFIX)/share/man/man1
	mkdir -p $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(TARGET)/release/oxtree completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/oxtree
	$(if $(filter 1,$(WITH_OSTREE_LINK)),ln -sf oxtree $(DESTDIR)$(BINDIR)/ostree)

setup: ## install the Debian packages that tests and demo need
	@scripts/setup $(SETUP)
