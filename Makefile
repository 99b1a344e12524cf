# vtepd: build, try, test, measure. Everything below installs what it needs
# (Debian packages, Go modules) when run as root.

PREFIX  ?= /usr/local
CNI_BIN ?= /opt/cni/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      ?= go
LDFLAGS := -s -w -X vtepd/cmd/internal/build.Version=$(VERSION)
export CGO_ENABLED ?= 0

.PHONY: all build demo lab-flannel bench-flannel test test-race fuzz-short lint bench bench-quick vm-test install uninstall bpf deps clean

all: build

build: ## bin/vtepd, bin/vtepctl and bin/vtep-cni, static
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/vtepd ./cmd/vtepctl ./cmd/vtep-cni

demo: deps build ## two hosts in namespaces, traffic, a capture, its decode
	$(GO) run ./cmd/internal/demo -bin bin -out out/demo

lab-flannel: build ## etcd, two nodes of vtepd, one of flanneld, pods: to play with, until Ctrl-C
	.ci/deps flanneld
	$(GO) build -o out/tools/ ./cmd/internal/labflannel
	out/tools/labflannel -bin bin

test: build ## every test: unit, race, fuzz seeds and short runs, end to end, lint
	.ci/deps flanneld
	.ci/test

fuzz-short: ## ten seconds of each fuzz target
	.ci/fuzz 10s

lint: ## gofmt, vet, golangci-lint
	.ci/lint

bench: build ## against the kernel's vxlan device and other overlays, interleaved
	.ci/deps bench
	$(GO) run ./cmd/internal/bench -bin bin -out out/bench

bench-quick: deps build ## the kernel's vxlan device and vtepd only, in under three minutes
	$(GO) run ./cmd/internal/bench -bin bin -out out/bench -quick

bench-flannel: build ## 5,000 leases at once, then 100 changes a second
	.ci/deps flanneld
	VTEPD_ROOT_TESTS=1 $(GO) test -run '^$$' -bench Leases -benchtime 1x -timeout 10m ./cmd/internal/e2e/flannel

vm-test: build ## two real VMs under qemu
	.ci/deps vm
	$(GO) run ./cmd/internal/vmtest -bin bin -out out/vm

install: build ## to PREFIX, with the systemd unit; the network plugin also to CNI_BIN
	install -D -m 0755 bin/vtepd $(DESTDIR)$(PREFIX)/sbin/vtepd
	install -D -m 0755 bin/vtepctl $(DESTDIR)$(PREFIX)/bin/vtepctl
	install -D -m 0755 bin/vtep-cni $(DESTDIR)$(PREFIX)/sbin/vtep-cni
	install -D -m 0755 bin/vtep-cni $(DESTDIR)$(CNI_BIN)/vtep-cni
	install -d -m 0755 $(DESTDIR)/etc/cni/net.d
	install -D -m 0644 deploy/vtepd.service $(DESTDIR)/lib/systemd/system/vtepd.service
	test -e $(DESTDIR)/etc/vtepd/vtepd.yaml || { install -d -m 0755 $(DESTDIR)/etc/vtepd && \
	  bin/vtepd config example > $(DESTDIR)/etc/vtepd/vtepd.yaml.example; }

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/vtepd $(DESTDIR)$(PREFIX)/sbin/vtep-cni $(DESTDIR)$(CNI_BIN)/vtep-cni \
	  $(DESTDIR)$(PREFIX)/bin/vtepctl $(DESTDIR)/lib/systemd/system/vtepd.service

bpf: ## vtep/fastpath/fastpath.o, by clang, after its source was changed
	.ci/deps bpf
	$(GO) generate ./vtep/fastpath

deps: ## Debian packages that demo and tests use
	.ci/deps

clean:
	rm -rf bin out
