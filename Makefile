# Gatehouse's tasks. `make` alone lists them.
#
# What they can be told, as in `make test PKG=./keys RACE=no`:
#   PKG       the packages to test; by default ours and third_party/oryx
#   RACE      no leaves the race detector out; without gcc it is left out too
#   TEST      further flags of go test, such as TEST='-run Refresh -v'
#   INSTALL   no keeps the tests from installing packages of the system
#   FUZZTIME  how long each fuzz test runs
#   SOAKTIME  how long make soak takes
#   BENCH     further flags of bench-http, as in BENCH="-c 32 -only Refresh"

PKG      ?= $(every)
RACE     ?=
TEST     ?=
INSTALL  ?= yes
FUZZTIME ?= 1m
SOAKTIME ?= 10m
BENCH    ?=

every     = ./... github.com/ory/x/...
# Looked at when the tests begin, after .install.
race      = $(if $(filter no,$(RACE)),,$(if $(shell command -v gcc),-race))
# A run of all tests says how much of the code they reach.
COVER     = $(if $(TEST)$(filter-out $(every),$(PKG)),,artifacts/cover.out)

# One static file, without a debugger's tables, gin's MessagePack and gRPC's pages
# about itself. What production needs is less: no embedded mode. Git's state is
# not written into it, so that the same sources give the same file anywhere.
build       = CGO_ENABLED=0 go build -trimpath -tags nomsgpack,grpcnotrace -ldflags='-s -w'
production  = CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags slim,nomsgpack,grpcnotrace \
              -ldflags='-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)'
# Where binaries goes, and the release they say they are.
OUT        ?= bin/production
VERSION    ?=
REVISION   ?= $(shell git rev-parse HEAD 2>/dev/null)
# All as build has it, so that what they have in common is compiled once.
plain       = CGO_ENABLED=0 GOFLAGS="$$(go env GOFLAGS) -trimpath"
golangci    = $(plain) go tool -modfile=tools/lint/go.mod golangci-lint
sqlc        = $(plain) go tool -modfile=tools/go.mod sqlc
actionlint  = $(plain) go tool -modfile=tools/release/go.mod actionlint
cyclonedx   = $(plain) go tool -modfile=tools/release/go.mod cyclonedx-gomod
buf         = $(plain) go tool -modfile=tools/buf/go.mod buf
# Where the Go of the contracts goes.
PROTO_OUT  ?= .

# What make profile draws.
profiled    = (Register|Login|ResetPassword,_one_before)

.DEFAULT_GOAL := help
.PHONY: help run build binaries image image-size test-image test-containers sbom release publish push-image lint-actions test test-clients test-docs lint lint-deploy generate proto proto-lint .proto-imports fuzz bench bench-grpc bench-http bench-growth bench-profile .bench bench-gateway profile soak clean .install

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build the server and start it with no configuration, at http://localhost:8080
	@./bin/gatehouse serve

build: ## build bin/gatehouse and bin/gatehouse-worker
	$(build) -o bin/gatehouse ./cmd/gatehouse
	$(build) -o bin/gatehouse-worker ./cmd/worker

binaries: ## build what the images consist of into OUT, for production alone; VERSION says which release
	$(production) -o $(OUT)/gatehouse ./cmd/gatehouse
	$(production) -o $(OUT)/gatehouse-worker ./cmd/worker

image-size: binaries ## show how large the images are, and fail when one has outgrown its limit
	@.ci/image-size $(OUT)

image: ## build both images with Docker, for this machine
	@set -e; for image in gatehouse gatehouse-worker; do \
		docker build -f deploy/Dockerfile --target $$image -t $$image:$(or $(VERSION),dev) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(DOCKER_BUILD) .; \
	done

test-image: ## build both images, from what this machine has where nothing can be pulled, and run them read-only
	@.ci/test-image

test-containers: .install ## run the tests of storage on servers in containers, which need Docker
	@.ci/test-containers

sbom: binaries ## list what is in the binaries of OUT, as CycloneDX
	@for name in gatehouse gatehouse-worker; do \
		$(cyclonedx) bin -json -noserial -notimestamp $(if $(VERSION),-version '$(VERSION)') -output $(OUT)/$$name.cdx.json $(OUT)/$$name; \
	done

release: ## build what a release has for every system into bin/release, with lists of contents and checksums
	@.ci/release $(VERSION)

publish: ## put bin/release on GitHub, as the release VERSION
	gh release create '$(VERSION)' --verify-tag --title '$(VERSION)' --notes-file CHANGELOG.md bin/release/*

push-image: ## build IMAGE for amd64 and arm64 and push it to REGISTRY; its digest is added to the file DIGEST
	@mkdir -p bin
	docker buildx build -f deploy/Dockerfile --target '$(IMAGE)' --platform linux/amd64,linux/arm64 --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' \
		--build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" --provenance mode=max --sbom true --metadata-file bin/image.json \
		--output type=image,name='$(REGISTRY)/$(IMAGE):$(VERSION)',push=true,rewrite-timestamp=true .
	sed -n 's/.*"containerimage.digest": "\(.*\)".*/digest=\1/p' bin/image.json >>'$(DIGEST)'

# The race detector has each program wait for a second at its end, unless it is told
# otherwise.
test: .install ## install the servers that are missing (Debian, Ubuntu), run every test, and show the coverage
	@mkdir -p artifacts && rm -rf artifacts/_artifacts
	GORACE="atexit_sleep_ms=0 $$GORACE" go test -timeout 60m -artifacts -outputdir=$(CURDIR)/artifacts $(race) $(if $(COVER),-coverprofile=$(abspath $(COVER)) -coverpkg=./...) $(TEST) $(PKG)
	@$(if $(COVER),.ci/coverage $(COVER) 85)

test-clients: .install ## run the tests with software of others: Go and npm libraries, Chromium, Apache
	go test -timeout 60m $(TEST) ./clients

test-docs: .install ## do what README.md and docs tell their readers to type
	go test -timeout 60m $(TEST) ./docs

lint: ## gofmt, go vet and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(plain) go vet ./...
	$(golangci) run ./...

lint-actions: ## hold the workflows and the Dockerfile against actionlint and hadolint
	$(actionlint) -color=false
	@PATH=$$PATH:/usr/local/bin; command -v hadolint >/dev/null || { echo 'hadolint is not installed: deploy/Dockerfile is not looked at'; test "$$CI" != true; exit; }; \
		hadolint deploy/Dockerfile

lint-deploy: lint-actions ## hold the files of deploy/ against Compose, Helm, Kubernetes, systemd, Envoy and the collector
	deploy/lint.sh

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

# What is measured is the binary of the image, by a program that is not it.
measured    = artifacts/bench
measure     = $(measured)/bench -gatehouse $(measured)/gatehouse $(BENCH)

.bench: .install
	$(production) -o $(measured)/gatehouse ./cmd/gatehouse
	go build -o $(measured)/bench ./bench

bench-http: .bench ## measure what each request costs a server, into docs/benchmarks.md; takes two minutes
	$(measure) -command 'make bench-http' -write docs/benchmarks.md

bench-growth: .bench ## the same with a thousand, 100,000 and ten million grants; takes a while, and 15 GB of disk
	$(measure) -growth -command 'make bench-growth' -write docs/benchmarks.md

bench-profile: .install ## write profiles of a server under each load of bench-http into artifacts/bench, for go tool pprof
	CGO_ENABLED=0 go build -trimpath -tags slim,nomsgpack,grpcnotrace,bench -o $(measured)/gatehouse ./cmd/gatehouse
	go build -o $(measured)/bench ./bench
	$(measure) -profile '$(CURDIR)/$(measured)'

soak: .install ## call everything for SOAKTIME, and see that neither memory nor goroutines grow
	GATEHOUSE_TEST_SOAK=$(SOAKTIME) go test -timeout 0 -count 1 -run TestSoak -v ./api

bench-gateway: .install ## measure what a gateway's check costs, and how long a revoked token is let in
	go test -run '^$$' -bench GatewayCheck -benchmem ./provider
	GATEHOUSE_TEST_SLOW=1 go test -run TestRevocationLag -v ./cmd/gatehouse | grep -E 'revocations:|^(---|ok|FAIL)|    ---'

clean: ## remove what was built
	rm -rf bin artifacts

.install:
	@test '$(INSTALL)' = no || .ci/install curl openssl $(if $(filter no,$(RACE)),,gcc)
