package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/control"
	"vtepd/encap"
	"vtepd/encap/packet"
)

const decodeHelp = `Prints the outer headers of a capture file, pcap or pcapng, a line a packet:
number, time in UTC, and what the headers say. What is not VXLAN is a line that
says what it is. The daemon is not asked.`

func (a *app) decode() *cobra.Command {
	var count uint64
	cmd := a.leaf(verb{
		name: "decode", args: "FILE.pcap [--count N]", short: "print the outer headers of a capture", long: decodeHelp,
		prepare: func() (*grammar, action) {
			var g grammar
			var file string
			g.argument("FILE.pcap", func(v string) error {
				file = v
				return nil
			})
			return &g, func(ctx context.Context, _ *control.Client) error {
				if err := a.decodeFile(ctx, file, count); err != nil {
					return fmt.Errorf("decode: %w", err)
				}
				return nil
			}
		},
	})
	cmd.Flags().Uint64Var(&count, "count", 0, "stop after `N` packets; 0 is all")
	return cmd
}

func (a *app) decodeFile(ctx context.Context, name string, count uint64) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	capture, err := encap.OpenCapture(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	decoder := encap.NewDecoder()
	p := newPrinter(a, decodedLine)
	for n := uint64(1); count == 0 || n <= count; n++ {
		frame, err := capture.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: packet %d: %w", name, n, err)
		}
		if err := p.print(decodeFrame(decoder, n, &frame)); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return p.end(nil)
}

// A decoded is one packet in the document of `vtepctl -j decode`.
type decoded struct {
	Number   uint64    `json:"packet"` // from 1
	Time     time.Time `json:"time"`
	Length   int       `json:"length"`   // on the wire
	Captured int       `json:"captured"` // of it in the file
	// Outer is null for a packet that is not VXLAN; Problem says why.
	Outer   *outerHeaders `json:"outer"`
	Problem string        `json:"problem,omitempty"`

	text string // of Outer
}

// outerHeaders are the outer headers of a VXLAN packet.
type outerHeaders struct {
	SrcMAC   packet.MAC     `json:"src_mac"`
	DstMAC   packet.MAC     `json:"dst_mac"`
	Src      netip.AddrPort `json:"src"`
	Dst      netip.AddrPort `json:"dst"`
	VNI      uint32         `json:"vni"`
	TOS      uint8          `json:"tos"`
	TTL      uint8          `json:"ttl"`
	DF       bool           `json:"df"`
	Checksum bool           `json:"udp_csum"`
	Inner    int            `json:"inner_length"` // of the inner frame in bytes
}

func decodeFrame(decoder *encap.Decoder, n uint64, f *encap.Captured) decoded {
	out := decoded{Number: n, Time: f.Time.UTC(), Length: f.Length, Captured: len(f.Data)}
	d, err := decoder.Decode(f.Data)
	if err != nil {
		out.Problem = err.Error()
		return out
	}
	out.text = d.String()
	out.Outer = &outerHeaders{
		SrcMAC: d.SrcMAC, DstMAC: d.DstMAC,
		Src: netip.AddrPortFrom(d.Src, d.SrcPort), Dst: netip.AddrPortFrom(d.Dst, d.DstPort),
		VNI: d.VNI, TOS: d.TOS, TTL: d.TTL, DF: d.DF, Checksum: d.Checksum, Inner: len(d.Inner),
	}
	return out
}

func decodedLine(d *decoded) string {
	text := d.text
	if d.Outer == nil {
		text = d.Problem
	}
	return fmt.Sprintf("%d %s %s", d.Number, d.Time.Format("2006-01-02T15:04:05.000000Z"), text)
}
