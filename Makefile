# Every target that CI or a contributor needs; `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

GO          ?= go
PKGS        ?= ./...
# Modules of their own, whose dependencies the main one does not have. With all packages they come along.
MODULES     ?= contrib/grpclimit contrib/otellimit
FUZZTIME    ?= 10s
BENCHTIME   ?= 1s
BENCH       ?= .
SOAK        ?= 10m
ROTATION    ?= 180s
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The race detector needs a C compiler; on a machine with Go only the tests still run, without it.
RACE := $(shell command -v $${CC:-cc} >/dev/null 2>&1 && echo -race)

# in_modules runs commands in every other module, if all packages are meant.
in_modules = $(if $(filter ./...,$(PKGS)),for module in $(MODULES); do (cd $$module && $(1)) || exit 1; done,@:)

.PHONY: help build test lint bench bench-engine bench-master bench-aws bench-seed bench-redis bench-peers fuzz cover check soak soak-aws interop web web-check dist clean

help: ## print the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## build ./zae-limiter, static and stripped
	GO="$(GO)" ./scripts/build -o zae-limiter

test: ## every test that needs only Go
	$(if $(RACE),,@echo "no C compiler: running without the race detector")
	$(GO) test $(RACE) -shuffle=on -count=1 -timeout 40m $(PKGS)
	$(call in_modules,$(GO) test $(RACE) -shuffle=on -count=1 ./...)

lint: ## gofmt, vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) vet -tags interop $(PKGS)
	$(GO) run $(STATICCHECK) $(PKGS)
	$(call in_modules,$(GO) vet ./... && $(GO) run $(STATICCHECK) ./...)

bench: ## Go benchmarks of every package (BENCH=regexp, BENCHTIME=1s)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem $(PKGS)

bench-engine: ## the engine alone on a core, DynamoDB Local beside it
	./scripts/bench-engine

bench-master: ## how many workers a core of our master and of Locust's serves, and how soon they are there
	./scripts/bench-master

bench-aws: ## what deploying costs and how soon the function's program is there, in an account on this machine
	./scripts/bench-aws

bench-seed: ## the tables of the Python tool's guide: three runtimes on AWS played here, capacity planning
	./scripts/bench-seed

bench-redis: ## what an acquire takes on Redis, on Valkey and on DynamoDB's API
	./scripts/bench-redis

bench-peers: ## us against Python's zae-limiter and Locust, side by side in one run
	./scripts/bench-peers

soak: ## a cluster at full speed whose workers are replaced all the time, for SOAK (needs Python)
	./scripts/soak $(SOAK)

soak-aws: ## a distributed run on AWS played here, whose workers are replaced every minute, for ROTATION
	ZAE_LIMITER_ROTATION=$(ROTATION) $(GO) test -count=1 -timeout 60m -run 'TestScripts/^aws_rotation$$' ./cmd/zae-limiter

fuzz: ## every fuzz target for FUZZTIME each
	./scripts/fuzz $(FUZZTIME)

cover: ## coverage by package
	$(GO) test -count=1 -cover $(PKGS)

check: lint test ## what must hold before a change lands: lint, tests, tidy modules, static binary
	$(GO) mod tidy -e -diff # -e: tests of a library below the Session Manager plugin need a package that is gone
	$(GO) mod verify
	$(call in_modules,$(GO) mod tidy -diff)
	./scripts/static

interop: ## the real peers: DynamoDB Local, boto3, libzmq, Locust, moto, cfn-lint and awscli (installs what it needs)
	./interop/run

web: ## build the embedded web UI anew from web/ (Node 20 and npm)
	./web/build

web-check: ## whether the committed web UI is what web/ gives (Node 20 and npm)
	./scripts/web-check

dist: ## release binaries for six platforms, checksums and an SBOM, in dist/
	./scripts/dist

clean: ## remove build output
	rm -rf dist zae-limiter
