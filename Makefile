# Gatehouse's tasks. `make` alone lists them.
#
# What they can be told, as in `make test PKG=./keys RACE=1`:
#   PKG       the packages to test; by default ours and third_party/oryx
#   RACE      1 adds the race detector, which needs gcc
#   COVER     a file for the coverage profile, which .ci/coverage sums up
#   TEST      further flags of go test, such as TEST='-run Refresh -v'
#   INSTALL   no keeps the tests from installing packages of the system
#   FUZZTIME  how long each fuzz test runs
#   SOAKTIME  how long make soak takes

PKG      ?= ./... github.com/ory/x/...
RACE     ?=
COVER    ?=
TEST     ?=
INSTALL  ?= yes
FUZZTIME ?= 1m
SOAKTIME ?= 10m

# One static file, without a debugger's tables and gin's MessagePack.
build       = CGO_ENABLED=0 go build -trimpath -tags nomsgpack -ldflags='-s -w'
golangci    = go tool -modfile=tools/lint/go.mod golangci-lint
sqlc        = CGO_ENABLED=0 go tool -modfile=tools/go.mod sqlc
buf         = go tool -modfile=tools/buf/go.mod buf
# Where the Go of the contracts goes.
PROTO_OUT  ?= .

# What make profile draws.
profiled    = (Register|Login|ResetPassword,_one_before)

.DEFAULT_GOAL := help
.PHONY: help run build test test-clients race lint generate proto proto-lint .proto-imports cover fuzz bench bench-grpc bench-gateway profile soak clean .install

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build the server and start it with no configuration, at http://localhost:8080
	@./bin/gatehouse serve

build: ## build bin/gatehouse and bin/gatehouse-worker
	$(build) -o bin/gatehouse ./cmd/gatehouse
	$(build) -o bin/gatehouse-worker ./cmd/worker

test: .install ## install the servers that are missing (Debian, Ubuntu) and run every test
	@mkdir -p artifacts && rm -rf artifacts/_artifacts
	go test -timeout 20m -artifacts -outputdir=$(CURDIR)/artifacts $(if $(RACE),-race) $(if $(COVER),-coverprofile=$(abspath $(COVER)) -coverpkg=./...) $(TEST) $(PKG)

test-clients: .install ## run the tests with software of others: Go and npm libraries, Chromium, Apache
	go test -timeout 20m $(TEST) ./clients

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

generate: proto ## write the generated code anew
	$(sqlc) generate -f storage/sqlc.yaml
	go generate ./...

# What the contracts import is copied from the source of a Go module: buf
# downloads nothing.
.proto-imports:
	@mkdir -p artifacts/proto/buf/validate
	@source=$$(cd tools/buf && go mod download && go list -m -f '{{.Dir}}' github.com/bufbuild/protovalidate) && \
		install -m 644 "$$source/proto/protovalidate/buf/validate/validate.proto" artifacts/proto/buf/validate/

proto: .proto-imports ## write the Go of the contracts of the gRPC API
	$(buf) generate --output $(PROTO_OUT)

proto-lint: .proto-imports ## lint the contracts, and look for changes that break clients of the last release
	$(buf) lint
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null) || { echo "There is no release yet that a change could break."; exit 0; }; \
		git cat-file -e "$$tag:buf.yaml" 2>/dev/null || { echo "$$tag has no contracts that a change could break."; exit 0; }; \
		before=$$(mktemp -d) && trap 'rm -rf "$$before"' EXIT && \
		git archive "$$tag" api buf.yaml | tar -x -C "$$before" && mkdir -p "$$before/artifacts" && cp -R artifacts/proto "$$before/artifacts/" && \
		echo "$(buf) breaking --against $$tag" && $(buf) breaking --against "$$before"

fuzz: ## run each fuzz test for FUZZTIME
	@set -e; for package in $$(go list ./...); do \
		for fuzz in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$fuzz"; \
			go test -run '^$$' -fuzz "^$$fuzz\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench: .install ## run the benchmarks
	go test -timeout 60m -run '^$$' -bench . -benchmem $(filter ./%,$(PKG))

bench-grpc: .install ## print the table of docs/benchmarks.md: what each gRPC call costs
	go test -timeout 60m -run '^$$' -bench RPC -benchtime 3s ./api

# The profiles are of the calls alone. What is allocated is looked at in a run
# of its own, which is slower for it.
profile: ## draw what Register, Login and ResetPassword do, by time and by memory, into docs/benchmarks
	@test '$(INSTALL)' = no || .ci/install dot
	@rm -rf artifacts/profile && mkdir -p artifacts/profile
	go test -c -o artifacts/profile/api.test ./api
	cd api && export GATEHOUSE_PROFILE='$(CURDIR)/artifacts/profile' && \
		../artifacts/profile/api.test -test.run '^$$' -test.bench 'RPC/(nothing|bcrypt)/$(profiled)$$' -test.benchtime 8s && \
		../artifacts/profile/api.test -test.run '^$$' -test.bench 'RPC/nothing/$(profiled)$$' -test.benchtime 1000x -test.memprofilerate 1
	@set -e; cd artifacts/profile; for method in register login resetpassword; do \
		for hash in nothing bcrypt; do \
			go tool pprof -svg -nodecount 60 -output ../../docs/benchmarks/$$method-$$hash-cpu.svg $$method-$$hash-cpu.pprof; \
		done; \
		go tool pprof -svg -nodecount 60 -sample_index alloc_space -ignore runtime/pprof -base $$method-nothing-before.pprof \
			-output ../../docs/benchmarks/$$method-nothing-heap.svg $$method-nothing-heap.pprof; \
	done

soak: .install ## call everything for SOAKTIME, and see that neither memory nor goroutines grow
	GATEHOUSE_TEST_SOAK=$(SOAKTIME) go test -timeout 0 -count 1 -run TestSoak -v ./api

bench-gateway: .install ## measure what a gateway's check costs, and how long a revoked token is let in
	go test -run '^$$' -bench GatewayCheck -benchmem ./provider
	GATEHOUSE_TEST_SLOW=1 go test -run TestRevocationLag -v ./cmd/gatehouse | grep -E 'revocations:|^(---|ok|FAIL)|    ---'

clean: ## remove what was built
	rm -rf bin artifacts

.install:
	@test '$(INSTALL)' = no || .ci/install $(if $(RACE),gcc)
