package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"vtepd/config"
	"vtepd/route/flannel"
	"vtepd/route/flannel/etcd"
)

// initLimit is how long etcd may take to answer.
const initLimit = 10 * time.Second

// subnetFlags are the flags of `vtepd subnet init`.
type subnetFlags struct {
	draft        flannel.Draft
	net4, net6   string
	endpoints    string
	store        etcd.Options
	ca           string
	cert, key    string
	passwordFile string
	force        bool
}

func (f *subnetFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.endpoints, "etcd", "", "etcd's `URL,...` (required)")
	fs.StringVar(&f.net4, "network", "", "the pods' IPv4 addresses, `CIDR` such as 10.244.0.0/16")
	fs.StringVar(&f.net6, "network6", "", "the pods' IPv6 addresses, `CIDR` such as fd44:244::/48")
	fs.IntVar(&f.draft.SubnetLen, "subnet-len", 0, "prefix length `N` of a node's IPv4 subnet (default 24, or what fits)")
	fs.StringVar(&f.draft.Backend, "backend", "", "`vxlan|host-gw` (required)")
	fs.IntVar(&f.draft.VNI, "vni", -1, "VXLAN network `N` (default 1; vxlan)")
	fs.IntVar(&f.draft.Port, "port", 0, "VXLAN UDP port `P` (default 8472, as Flannel's; vxlan)")
	fs.BoolVar(&f.draft.DirectRouting, "direct-routing", false, "reach nodes of the same link by plain routes (vxlan)")
	fs.StringVar(&f.store.Prefix, "prefix", etcd.DefaultPrefix, "`PREFIX` of the network's keys")
	fs.BoolVar(&f.force, "force", false, "overwrite the configuration that is there")
	fs.StringVar(&f.ca, "ca", "", "`FILE` with the authority of etcd's certificate")
	fs.StringVar(&f.cert, "cert", "", "`FILE` with our certificate")
	fs.StringVar(&f.key, "key", "", "`FILE` with its key")
	fs.StringVar(&f.store.Username, "username", "", "our `NAME` in etcd")
	fs.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password in its first line")
}

// subnetInit writes the configuration of a Flannel network into etcd.
func subnetInit(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vtepd subnet init", flag.ContinueOnError)
	fs.SetOutput(stderr)
	f := new(subnetFlags)
	f.register(fs)
	if code, ok := parse(fs, args, stdout); !ok {
		return code
	}
	value, err := f.value()
	if err == nil {
		err = f.options()
	}
	if err != nil {
		fmt.Fprintln(stderr, "vtepd subnet init:", err)
		return exitConfig
	}
	if err := f.write(value); err != nil {
		fmt.Fprintln(stderr, "vtepd subnet init:", err)
		if errors.Is(err, flannel.ErrExists) {
			return exitConfig
		}
		return exitSystem
	}
	fmt.Fprintf(stdout, "%s/config = %s\n", strings.TrimRight(f.store.Prefix, "/"), value)
	return exitOK
}

// value is the configuration that the flags ask for.
func (f *subnetFlags) value() ([]byte, error) {
	if f.net4 == "" && f.net6 == "" {
		return nil, errors.New("name the pods' addresses with --network CIDR, --network6 CIDR or both")
	}
	if f.draft.Backend == "" {
		return nil, errors.New("say how packets travel: --backend vxlan or --backend host-gw")
	}
	for _, n := range []struct {
		flag, text string
		to         *netip.Prefix
	}{{"--network", f.net4, &f.draft.Network}, {"--network6", f.net6, &f.draft.Network6}} {
		if n.text == "" {
			continue
		}
		p, err := netip.ParsePrefix(n.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a prefix such as 10.244.0.0/16", n.flag, n.text)
		}
		*n.to = p.Masked()
	}
	if f.draft.VNI < -1 {
		return nil, fmt.Errorf("--vni %d is not from 0 to 16777215", f.draft.VNI)
	}
	return f.draft.Bytes()
}

// options fills in which etcd.
func (f *subnetFlags) options() error {
	if f.endpoints == "" {
		return errors.New("name etcd with --etcd URL")
	}
	f.store.Endpoints = strings.Split(f.endpoints, ",")
	for _, e := range f.store.Endpoints {
		if !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
			return fmt.Errorf("--etcd: %q is not a URL such as http://127.0.0.1:2379", e)
		}
	}
	var err error
	if f.store.TLS, err = etcd.LoadTLS(f.ca, f.cert, f.key); err != nil {
		return err
	}
	if (f.store.Username == "") != (f.passwordFile == "") {
		return errors.New("--username and --password-file belong together")
	}
	if f.passwordFile != "" {
		f.store.Password, err = config.ReadPassword(f.passwordFile)
	}
	return err
}

func (f *subnetFlags) write(value []byte) error {
	store, err := etcd.New(f.store)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // nothing is left to do there
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, initLimit)
	defer cancel()
	err = store.WriteConfig(ctx, value, f.force)
	if errors.Is(err, flannel.ErrExists) {
		return fmt.Errorf("there is a configuration at %s already (%w); --force overwrites it, and nodes must then be restarted", f.store.Prefix, err)
	}
	return err
}
