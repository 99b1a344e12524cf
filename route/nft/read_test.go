package nft

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recorded are rules as Linux 6.18 showed them: ours, and one of iptables with
// a comment and a target.
func recorded(t testing.TB) (out [][]byte) {
	t.Helper()
	b, err := os.ReadFile("testdata/rules.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Fields(string(b)) {
		m, err := hex.DecodeString(l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func FuzzParseRule(f *testing.F) {
	for _, m := range recorded(f) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		r, err := parseRule(m)
		if err == nil && len(r.names) > len(m) {
			t.Errorf("%d names in %d bytes", len(r.names), len(m))
		}
		for _, want := range []uint16{unix.NFTA_GEN_ID, unix.NFTA_TABLE_FLAGS} {
			_, _ = field32(m, want) // it must only not fail
		}
	})
}

var recordFlag = flag.Bool("record", false, "write testdata/rules.hex anew; takes root and iptables-nft")

func TestParseRule(t *testing.T) {
	if *recordFlag {
		record(t)
	}
	want := []readRule{
		{family: unix.NFPROTO_IPV4, table: "filter", chain: "FORWARD", comment: Mark, names: []string{"counter", "immediate"}, hasVerdict: true, verdict: unix.NFT_JUMP, target: chainName},
		{family: unix.NFPROTO_IPV4, table: "filter", chain: "FORWARD", comment: "a comment", names: []string{"payload", "cmp", "counter", "immediate"}, hasVerdict: true, verdict: 1},
		{family: unix.NFPROTO_IPV4, table: "filter", chain: "FORWARD", names: []string{"counter", "reject"}},
	}
	msgs := recorded(t)
	if len(msgs) != len(want) {
		t.Fatalf("%d rules are recorded", len(msgs))
	}
	for i, m := range msgs {
		r, err := parseRule(m)
		if err != nil {
			t.Fatal(err)
		}
		want[i].handle = r.handle
		if got, expected := show(r), show(want[i]); got != expected || r.handle == 0 {
			t.Errorf("rule %d is %s, want %s", i, got, expected)
		}
	}
}

func show(r readRule) string {
	return strings.Join(append([]string{fmt.Sprint(r.family), r.table, r.chain, r.comment, r.target, fmt.Sprint(r.verdict)}, r.names...), " ")
}

// record writes testdata/rules.hex anew: go test -run TestParseRule -record
func record(t *testing.T) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-ec", `iptables-nft -N VTEPD-FORWARD
		iptables-nft -A FORWARD -m comment --comment "vtepd forward" -j VTEPD-FORWARD
		iptables-nft -A FORWARD -s 10.244.0.0/16 -m comment --comment "a comment" -j ACCEPT
		iptables-nft -A FORWARD -j REJECT`).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	msgs, err := nftRequest(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, unix.NFPROTO_IPV4)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range msgs {
		b.WriteString(hex.EncodeToString(m) + "\n")
	}
	if err := os.WriteFile("testdata/rules.hex", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
