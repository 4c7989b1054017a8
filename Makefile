# make is make check.
FUZZTIME ?= 30s
BENCHTIME ?= 1s

.PHONY: check build test race fmt vet lint fuzz bench bench-plugins bench-mail bench-interop interop demo configs vectors

check: fmt vet test

build:
	go build -o bin/strata ./cmd/node

test:
	go test ./...

race:
	go test -race -shuffle=on ./...

fmt:
	@out=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }

vet:
	go vet ./...

lint:
	golangci-lint run

# One after the other: each fuzz target uses all cores. A number of inputs (3000x)
# ends more reliably than a time, which go test may run over and call a failure.
fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; \
		done; \
	done

# The figures of docs/benchmarks.md, but those of transport plugins and of mail servers.
bench:
	go test -run '^$$' -bench . -skip '^Benchmark(Plugin|Archive|Query|Pages|Load)' -benchmem -benchtime $(BENCHTIME) ./kernel/... ./actors/... ./layers/... ./cmd/node

# Those of transport plugins, and a table of libp2p against Whisper: some eight
# minutes. Each does a fixed amount of work.
bench-plugins:
	STRATA_TABLE=1 go test -run '^$$' -bench '^BenchmarkPlugin' -benchtime 1x -timeout 20m ./cmd/node

# Mail servers of a million envelopes, in both databases: some five minutes.
bench-mail:
	go test -run '^$$' -bench . -benchtime 10x -timeout 30m ./actors/edge/archive

# Strata beside go-ethereum v1.9.20: some five minutes, on loopback only.
bench-interop:
	cd interop && go run ./bench

interop:
	cd interop && go test -count=1 ./...

vectors:
	STRATA_VECTORS=$(CURDIR)/layers/layertest/testdata/vectors go test -count=1 ./layers/...

configs: build
	@for file in configs/*.yaml configs/*/*.yaml; do bin/strata config check $$file || exit 1; done

demo:
	go run ./cmd/node demo
