package flannel

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded is what flanneld wrote: the configuration and the leases by key.
type recorded struct {
	name   string
	config []byte
	leases map[string]string
}

// recordings reads testdata/flanneld; README.md there says how they were made.
func recordings(t *testing.T) []recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/flanneld/*.etcd.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	var all []recorded
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r := recorded{name: strings.TrimSuffix(filepath.Base(f), ".etcd.txt"), leases: map[string]string{}}
		lines := strings.Split(string(data), "\n")
		for i, line := range lines {
			if key, ok := strings.CutPrefix(line, "/coreos.com/network/subnets/"); ok {
				r.leases[key] = lines[i+1]
			} else if line == "/coreos.com/network/config" {
				r.config = []byte(lines[i+1])
			}
		}
		all = append(all, r)
	}
	return all
}

// TestRecordedLeases reads what flanneld wrote and writes the same bytes.
func TestRecordedLeases(t *testing.T) {
	refused := map[string]bool{"10.244.251.0-24": true, "10.244.252.0-24": true, "garbage": true} // put there by hand
	for _, r := range recordings(t) {
		n, err := ParseNetwork(r.config)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		for key, value := range r.leases {
			s, err := ParseSubnet(key)
			var a Attrs
			if err == nil {
				if a, err = ParseLease([]byte(value), n.Backend.VNI); err == nil {
					if r := a.reaches(s, n); r != nil {
						err = r
					}
				}
			}
			if refused[key] {
				if err == nil {
					t.Errorf("%s: %s is taken", r.name, key)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %s: %v", r.name, key, err)
			}
			if s.Key() != key || string(a.Value()) != value || !n.Allows(s) {
				t.Errorf("%s: written again: %s %s\nrecorded: %s %s", r.name, s.Key(), a.Value(), key, value)
			}
		}
	}
}

// TestRecordedEnv reads the subnet.env that flanneld wrote and writes the same.
func TestRecordedEnv(t *testing.T) {
	for _, r := range recordings(t) {
		data, err := os.ReadFile("testdata/flanneld/" + r.name + ".subnet.env")
		if err != nil {
			t.Fatal(err)
		}
		e, err := ParseEnv(data)
		if err != nil || !bytes.Equal(e.Bytes(), data) {
			t.Errorf("%s: %v\n%s", r.name, err, e.Bytes())
		}
		if _, ok := r.leases[e.Subnet.Key()]; !ok {
			t.Errorf("%s: %v is no recorded lease", r.name, e.Subnet)
		}
	}
}
