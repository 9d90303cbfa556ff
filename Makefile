# Needs Go 1.26 or newer, git and make. `make help` lists the targets.

SHELL := /bin/bash
BIN   := bin
GOENV := CGO_ENABLED=0 GOAMD64=v1 GOFLAGS=
# The guest and the ledger's node are measured: they must come out the same from every checkout: no paths, no version stamp, no build id.
GUESTFLAGS := -trimpath -buildvcs=false -ldflags "-s -w -buildid="

.PHONY: help build demo demo-ledger test test-all test-fast test-race test-evidence bench bench-attest bench-ledger fuzz lint tidy-check guest-check clean tools

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

tools:
	@command -v go >/dev/null || { echo "make: Go is missing: install Go 1.26 or newer (https://go.dev/doc/install)"; exit 1; }
	@command -v git >/dev/null || { echo "make: git is missing: install it (apt-get install git)"; exit 1; }
	@v=$$(go env GOVERSION | sed 's/^go//'); case "$$v" in 1.2[6-9]*|1.[3-9][0-9]*) ;; *) echo "make: Go $$v is too old, wanted 1.26 or newer"; exit 1;; esac

build: tools ## build bin/hitoku and the programs beside it: hitoku-init, hitoku-ledger, hitoku-devchain
	@mkdir -p $(BIN)
	@echo "building $(BIN)/hitoku-init and $(BIN)/hitoku (the first build takes a few minutes)"
	@$(GOENV) GOOS=linux GOARCH=amd64 go build $(GUESTFLAGS) -o $(BIN)/hitoku-init ./cmd/hitoku-init
	@$(GOENV) go build -trimpath -ldflags "-s -w" -o $(BIN)/hitoku ./cmd/hitoku
	@$(GOENV) GOOS=linux GOARCH=amd64 go build -trimpath -ldflags "-s -w" -o $(BIN)/hitoku-hello ./examples/hello
	@$(GOENV) GOOS=linux GOARCH=amd64 go build $(GUESTFLAGS) -o $(BIN)/hitoku-ledger ./cmd/hitoku-ledger
	@cd devchain && $(GOENV) go build -trimpath -ldflags "-s -w" -o ../$(BIN)/hitoku-devchain .

demo: build ## the whole path on this machine: convert, approve, enrol, run, verify, refuse
	@$(BIN)/hitoku demo

demo-ledger: build ## the ledger on this machine: nodes, a vault, sealed transfers, receipts, rotation, recovery, refusals
	@$(BIN)/hitoku ledger demo

test: build ## install what is missing, then run every test (needs root or sudo)
	@./test/setup.sh
	@$(MAKE) --no-print-directory lint
	@./test/services.sh $(MAKE) --no-print-directory test-all

test-all: # with the services that test/services.sh starts
	@echo "test: everything, 1 of 3: go test ./..."
	@./test/go.sh ./...
	@echo "test: everything, 2 of 3: the packages with concurrency, under the race detector"
	@CGO_ENABLED=1 ./test/go.sh -race -short $(RACE)
	@echo "test: everything, 3 of 3: end to end"
	@./test/e2e/run.sh

RACE := ./internal/manager/... ./internal/agent/... ./internal/guest/... ./internal/convert ./enclave/... ./attest/atls ./attest/collateral \
	./ledger ./ledger/client ./ledger/ledgerd ./internal/ledger/api ./internal/ledger/faulttest ./internal/ledger/hosttest \
	./internal/ledger/history ./internal/ledger/member ./internal/ledger/node ./internal/ledger/order/... ./internal/ledger/simhost ./internal/ledger/state

test-race: tools ## every package under the race detector (about half an hour)
	@./test/services.sh env CGO_ENABLED=1 ./test/go.sh -race -short -timeout 30m ./...

test-fast: tools ## the fast tests only; those that need a service skip
	go test ./...

EVIDENCE := ./attest/... ./measure/... ./internal/verify/...

test-evidence: tools ## the verifier against real hardware's evidence in ../shared (HITOKU_EVIDENCE names another folder)
	@dir=$${HITOKU_EVIDENCE:-$(CURDIR)/../shared/evidence}; [ -d "$$dir" ] || { echo "make: no evidence in $$dir; HITOKU_EVIDENCE names the folder"; exit 1; }
	go test -count=1 $(EVIDENCE)

bench-attest: tools ## the verifiers of attest/ beside their peers in Go, on real evidence
	@cd bench && go run .

bench-ledger: tools ## the ledger beside what it is compared with, as ratios within one run (about six minutes)
	@./test/benchledger/run.sh

bench: build ## benchmarks, each as a ratio within one run
	@./test/bench/run.sh

fuzz: tools ## each fuzz target for 30 s (FUZZTIME=…, FUZZFOLDER=attest for those below it)
	@./test/fuzz.sh $${FUZZTIME:-30s} $${FUZZFOLDER:-.}

lint: tools ## formatting, vet, static analysis, module files
	@./test/lint.sh

clean: ## remove what make built
	rm -rf $(BIN)
