# Gatehouse's tasks. `make` alone lists them.
#
# What they can be told, as in `make test PKG=./keys RACE=1`:
#   PKG       the packages to test; by default ours and third_party/oryx
#   RACE      1 adds the race detector, which needs gcc
#   COVER     a file for the coverage profile, which .ci/coverage sums up
#   TEST      further flags of go test, such as TEST='-run Refresh -v'
#   INSTALL   no keeps the tests from installing packages of the system
#   FUZZTIME  how long each fuzz test runs

PKG      ?= ./... github.com/ory/x/...
RACE     ?=
COVER    ?=
TEST     ?=
INSTALL  ?= yes
FUZZTIME ?= 1m

# One static file, without a debugger's tables and gin's MessagePack.
build       = CGO_ENABLED=0 go build -trimpath -tags nomsgpack -ldflags='-s -w'
golangci    = go tool -modfile=tools/lint/go.mod golangci-lint
sqlc        = CGO_ENABLED=0 go tool -modfile=tools/go.mod sqlc

.DEFAULT_GOAL := help
.PHONY: help run build test race lint generate cover fuzz bench clean .install

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build the server and start it with no configuration, at http://localhost:8080
	@./bin/gatehouse serve

build: ## build bin/gatehouse and bin/gatehouse-worker
	$(build) -o bin/gatehouse ./cmd/gatehouse
	$(build) -o bin/gatehouse-worker ./cmd/worker

test: .install ## install the servers that are missing (Debian, Ubuntu) and run every test
	@mkdir -p artifacts
	go test -timeout 20m $(if $(RACE),-race) $(if $(COVER),-coverprofile=$(COVER) -coverpkg=./...) $(TEST) $(PKG)

race: ## the same with the race detector
	@$(MAKE) --no-print-directory test RACE=1

cover: ## the same, and show how much of the hand-written code the tests reach
	@$(MAKE) --no-print-directory test COVER=artifacts/cover.out
	@.ci/coverage artifacts/cover.out

lint: ## gofmt, go vet and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	$(golangci) run ./...

generate: ## write the generated code anew
	$(sqlc) generate -f storage/sqlc.yaml
	go generate ./...

fuzz: ## run each fuzz test for FUZZTIME
	@set -e; for package in $$(go list ./...); do \
		for fuzz in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$fuzz"; \
			go test -run '^$$' -fuzz "^$$fuzz\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench: ## run the benchmarks
	go test -run '^$$' -bench . -benchmem $(filter ./%,$(PKG))

clean: ## remove what was built
	rm -rf bin artifacts

.install:
	@test '$(INSTALL)' = no || .ci/install $(if $(RACE),gcc)
