# What one does with Spoor. "make" alone lists it. Needs Go and make; the tools
# below are fetched by Go at these versions and kept out of go.mod.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help

GO     ?= go
LISTEN ?= 127.0.0.1:7480
DATA   ?= ./data
EVENTS ?= 100000

# Tests: packages at a time, limit of one package (one that hangs shows where), and -race where a C compiler is.
P           ?= 2
TESTTIMEOUT ?= 8m
TESTFLAGS   ?=
RACE        ?= $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)
TEST         = $(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -p $(P) -timeout $(TESTTIMEOUT) $(TESTFLAGS)

FUZZTIME ?= 10s
SOAKTIME ?= 3600
BENCH    ?= .
COUNT    ?= 6

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help build run demo cluster test sdk sdk-go sdk-js clients web test-web s3 engines lint fuzz bench profile bench-peers plots golden reliability soak fmt clean FORCE

help: ## This list
	@echo "Spoor: product events, collected, kept and asked. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  %-11s %s\n' "$$name" "$$text"; done
	@echo "Variables: LISTEN=$(LISTEN) DATA=$(DATA) EVENTS=$(EVENTS) FUZZTIME=$(FUZZTIME) SOAKTIME=$(SOAKTIME) (seconds) BENCH=$(BENCH)"

build: bin/spoor ## Build bin/spoor

bin/spoor: FORCE
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./tools/spoor

run: build ## Build and start a server on DATA, and say what to try next
	@printf '%s\n' \
	  'Spoor at http://$(LISTEN), for browsers too, data in $(DATA). Ctrl-C ends it. In another terminal:' '' \
	  "  curl http://$(LISTEN)/api/events -d '{\"userId\":\"me\",\"eventName\":\"hello\"}'" \
	  '  bin/spoor import --server http://$(LISTEN) FILE.ndjson' \
	  '  bin/spoor demo --server http://$(LISTEN)' \
	  "  bin/spoor query --server http://$(LISTEN) 'events of hello'" \
	  '  bin/spoor query --server http://$(LISTEN)        # a prompt' ''
	@exec bin/spoor serve --data '$(DATA)' --listen '$(LISTEN)'

demo: build ## Load EVENTS generated events into a server of its own and show a funnel
	@dir=$$(mktemp -d); \
	bin/spoor serve --data "$$dir/data" --listen '$(LISTEN)' >"$$dir/log" 2>&1 & pid=$$!; \
	finish() { kill "$$pid" 2>/dev/null || true; wait "$$pid" 2>/dev/null || true; rm -rf "$$dir"; }; \
	trap finish EXIT; trap 'exit 0' INT TERM; \
	if ! bin/spoor demo --server 'http://$(LISTEN)' --events $(EVENTS) --wait 10s || ! kill -0 "$$pid" 2>/dev/null; then \
	  echo 'The demo failed; the server said:' >&2; tail -n 20 "$$dir/log" >&2; exit 1; \
	fi; \
	if [ -t 0 ]; then echo; echo 'The server runs on at http://$(LISTEN) until Ctrl-C, with its data in a temporary place.'; wait "$$pid"; fi

cluster: build ## Start three local nodes with sample data, and say what to try
	@EVENTS=$$(( $(EVENTS) / 5 )) deploy/local-cluster.sh

test: ## Run all tests, with the race detector where a C compiler is found
	@$(if $(RACE),,echo 'No C compiler found: testing without the race detector.';) $(TEST) ./...
	@$(MAKE) --no-print-directory sdk-go

sdk-go: ## Vet and test the Go SDK, a module of its own, against the server
	@cd sdk/go; $(GO) vet ./...; $(TEST) ./...; cd ../../examples/go; $(GO) vet ./...; $(TEST) ./...

sdk: sdk-go sdk-js ## Build and test all SDKs

sdk-js: build ## Check, build and test the SDK for pages and Node, in Node and in Chromium; needs Node 20 and npm
	@cd sdk/js; npm ci --no-audit --no-fund --ignore-scripts --prefer-offline --loglevel=error; SPOOR_BINARY='$(CURDIR)/bin/spoor' npm run --silent check

# Where the clients of npm are installed, for the next time too.
CLIENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spoor-clients

clients: ## Test the published SDKs of other systems against the server
	@command -v node >/dev/null 2>&1 || echo 'No node found: only analytics-go is tested.'; \
	cd server/dialect/clienttest; $(GO) vet ./...; SPOOR_CLIENTS_DIR='$(CLIENTS)' $(GO) test -count=1 -parallel 16 -timeout 5m

# Where the S3 server of the tests is installed, for the next time too; they look there.
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
S3DIR     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spoor-s3

s3: ## Install the S3 server that tests of the raw tier use; without it they are skipped
	@[ -x '$(S3DIR)/versitygw' ] || GOBIN='$(S3DIR)' $(GO) install $(VERSITYGW)

# Where the engines of Python are installed, for the next time too.
ENGINES ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spoor-engines

engines: ## Hold the raw tier to what Arrow, DuckDB and ClickHouse read in it, with EVENTS events
	@[ -d '$(ENGINES)/chdb' ] || python3 -m pip install --quiet --disable-pip-version-check --target '$(ENGINES)' duckdb==2.0.1 chdb==4.4.0 || echo 'Without DuckDB and ClickHouse: they cannot be installed.'
	@cd bench/engines; $(GO) vet ./...; EVENTS=$(EVENTS) SPOOR_ENGINES_DIR='$(ENGINES)' $(GO) test -count=1 -timeout 30m -v ./...

# The packages of npm that the page is built with, installed anew when their list changed.
web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@cd web; npm ci --no-audit --no-fund --loglevel=error; touch node_modules/.package-lock.json

web: web/node_modules/.package-lock.json ## Build the page into server/dashboard, where the binary takes it from; needs Node
	@cd web; npm run --silent check; npx vite build --logLevel warn
	@git status --short -- server/dashboard

test-web: build web/node_modules/.package-lock.json ## Test the page: its logic, that what is committed is what is built, a walk with Chromium
	@cd web; ./chromium.sh; npm run --silent check; \
	fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; SPOOR_WEB_OUT="$$fresh" npx vite build --logLevel warn; \
	diff -r -q --exclude='*.go' "$$fresh" ../server/dashboard || { echo 'server/dashboard is not what web/ gives: make web, and commit it.' >&2; exit 1; }; \
	npx vitest run

lint: ## go vet, gofumpt, staticcheck, the layer test; golangci-lint where it is installed
	@echo 'go vet';      $(GO) vet ./...
	@echo 'gofumpt';     out=$$($(GO) run $(GOFUMPT) -l .); if [ -n "$$out" ]; then echo "$$out"; echo 'Not formatted; make fmt does it.' >&2; exit 1; fi
	@echo 'staticcheck'; $(GO) run $(STATICCHECK) ./...; cd sdk/go && $(GO) run $(STATICCHECK) ./...
	@echo 'layers';      $(GO) test -count=1 ./internal/archtest
	@if command -v golangci-lint >/dev/null 2>&1; then echo 'golangci-lint'; golangci-lint run ./...; fi

fuzz: ## Run every fuzz target for FUZZTIME
	@found=0; \
	while IFS=: read -r file name; do \
	  found=1; echo "== $$name ($$(dirname "$$file"))"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
	done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' bench cluster engine index internal segment server tools | sed -E 's/^([^:]+):[0-9]+:func /\1:/'); \
	[ "$$found" = 1 ] || { echo 'no fuzz targets found' >&2; exit 1; }

bench: ## Run the micro benchmarks; compare with bench.old.txt where it is
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -p 1 ./... | tee bench.txt
	@if [ -f bench.old.txt ]; then $(GO) run $(BENCHSTAT) bench.old.txt bench.txt; else echo 'Kept in bench.txt; mv bench.txt bench.old.txt compares the next run with it.'; fi

reliability: ## Durability at the counts of docs/reliability.md, as root for all of it; about an hour
	@SOAK=1 CGO_ENABLED=0 $(GO) test -count=1 -p 1 -timeout 6h -v -run 'Kill|Rolling|Cluster|FullDisk|512|Damage|Backup|Tiny|PowerCut|Failure|Failed|RandomOperations|Partition|DiskThatHangs|LogTook|LosePower|AtRandom|Histories|VirtualTime' ./tools/spoor/reliability ./cluster/datadir ./cluster ./engine | grep -aE '^(---|ok|FAIL|panic)|_test.go'
	@CGO_ENABLED=0 $(GO) test -count=1 -timeout 6h ./cluster/logstore -images 20000

# What is profiled: a query over the workload in PROFILEDATA, or without one the server while it loads.
QUERY       ?=
PROFILEDATA ?= /tmp/spoor-profile

profile: build ## Where the time of QUERY goes, or of ingest without one: top functions, and cpu.prof for go tool pprof
	@if [ -n '$(QUERY)' ]; then bin/spoor bench query --data '$(PROFILEDATA)' --query '$(QUERY)' --runs 50 --profile cpu.prof; \
	else bin/spoor bench ingest --events 3000000 --profile '$(CURDIR)/cpu.prof'; fi
	@$(GO) tool pprof -top -nodecount 40 bin/spoor cpu.prof

# The peers of "spoor bench run", at these versions.
CHDB         := 4.4.0
DUCKDB       := 2.0.1
VICTORIALOGS := v1.52.2

bench-peers: ## Install what "spoor bench run" compares with into bench/.peers; needs python3
	@python3 -m venv bench/.peers && bench/.peers/bin/pip -q install chdb==$(CHDB) duckdb==$(DUCKDB)
	@GOBIN='$(CURDIR)/bench/.peers/bin' $(GO) install github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@$(VICTORIALOGS)
	@echo 'Installed. Now: bin/spoor bench run --events 1000000'

REPORTS ?=

plots: ## Draw REPORTS, what bench run --out wrote at several sizes, into docs/images
	@cd bench/plot && $(GO) vet ./... && $(GO) test ./... && $(GO) run . -out ../../docs/images $(abspath $(REPORTS))

golden: ## Write the golden files of all formats anew, after a format was changed on purpose
	@$(GO) test -count=1 -run 'Golden|Pinned' ./cluster ./cluster/logstore ./engine ./index ./segment ./segment/batch -update
	@git status --short -- '*/testdata'

soak: reliability ## The above, then repeat all tests in random order and with fresh random data for SOAKTIME seconds
	@end=$$(($$(date +%s) + $(SOAKTIME))); round=0; \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
	  round=$$((round + 1)); echo "== round $$round"; \
	  SPOOR_ORACLE_SEED=$$((round * 10000)) SPOOR_ORACLE_WORLDS=100 $(TEST) -count=1 -shuffle=on ./...; \
	done

fmt: ## Format the source
	@$(GO) run $(GOFUMPT) -w .

clean: ## Remove what make has built; DATA stays
	@rm -rf bin bench.txt coverage.out cpu.prof
