package overlay

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"regexp"
)

// fastd runs fastd with a TAP device and its method null: the handshake is
// authenticated, the data is neither encrypted nor authenticated.
func fastd(p *Pair) error {
	if err := needs("fastd", "fastd"); err != nil {
		return err
	}
	p.Version = firstLine(p.A, "fastd", "--version")
	type pair struct{ secret, public string }
	var keys [2]pair
	for i := range keys {
		text, err := p.A.Run("fastd", "--generate-key")
		if err != nil {
			return err
		}
		found := regexp.MustCompile(`(?s)Secret: ([0-9a-f]+).*Public: ([0-9a-f]+)`).FindStringSubmatch(text)
		if found == nil {
			return fmt.Errorf("fastd --generate-key says %q", text)
		}
		keys[i] = pair{found[1], found[2]}
	}
	return p.each(func(s side) error {
		dir, err := s.folder("fastd")
		if err != nil {
			return err
		}
		// The remote is an address of the wire. Method null takes 29 bytes of it,
		// and a TAP's frame 14 more; the MTU is that of VXLAN all the same.
		mtu := s.pair.MTU - overhead
		err = write(dir, "fastd.conf", fmt.Sprintf("mode tap;\ninterface \"fd0\";\nmethod \"null\";\nbind %s:10000;\nsecret %q;\nmtu %d;\n"+
			"peer \"other\" {\n  key %q;\n  remote %s:10000;\n}\n", s.wire, keys[s.i].secret, mtu, keys[1-s.i].public, s.peerWire))
		if err != nil {
			return err
		}
		if _, err := s.run("fastd", "--config", filepath.Join(dir, "fastd.conf"), "--log-level", "warn"); err != nil {
			return err
		}
		return s.device("fd0", mtu)
	})
}

// tincMTU is the most that Debian's tinc forwards: it is built without jumbo
// frames.
const tincMTU = 1450

// tinc runs tinc 1.0 as a switch, without cipher and without digest.
func tinc(p *Pair) error {
	if err := needs("tincd", "tinc"); err != nil {
		return err
	}
	p.Version = firstLine(p.A, "tincd", "--version")
	if p.MTU > 1500 {
		p.Note = fmt.Sprintf("overlay MTU %d: Debian builds it without jumbo frames", tincMTU)
	}
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return err
		}
	}
	return p.each(func(s side) error {
		dir, err := s.folder("tinc")
		if err != nil {
			return err
		}
		if err := s.tincFiles(dir, keys); err != nil {
			return err
		}
		if _, err := s.run("tincd", "-c", dir, "-D", "--pidfile="+filepath.Join(dir, "pid")); err != nil {
			return err
		}
		return s.device("tn0", min(tincMTU, s.pair.MTU-overhead))
	})
}

// tincFiles writes tinc's configuration, our key and what we know of both
// hosts.
func (s side) tincFiles(dir string, keys [2]*rsa.PrivateKey) error {
	names, wires := [2]string{"a", "b"}, [2]string{wireA, wireB}
	conf := fmt.Sprintf("Name = %s\nInterface = tn0\nDeviceType = tap\nMode = switch\nAddressFamily = ipv4\n", s.name)
	if s.i == 1 { // host A is there already; a first try that fails costs 5 s
		conf += "ConnectTo = a\n"
	}
	if err := write(dir, "tinc.conf", conf); err != nil {
		return err
	}
	if err := write(dir, "tinc-up", "#!/bin/sh\n"); err != nil {
		return err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(keys[s.i])})
	if err := write(dir, "rsa_key.priv", string(private)); err != nil {
		return err
	}
	for i, key := range keys {
		public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
		host := fmt.Sprintf("Address = %s\nCipher = none\nDigest = none\nCompression = 0\n%s", wires[i], public)
		if err := write(dir, "hosts/"+names[i], host); err != nil {
			return err
		}
	}
	return nil
}
