package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// guest answers the lines it reads with what answers says, as a machine's
// shell. An answer of "hang up" ends the line.
func guest(t *testing.T, answers ...string) *Terminal {
	t.Helper()
	ours, theirs := net.Pipe()
	term := NewTerminal(ours)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		in := bufio.NewScanner(theirs)
		for _, a := range answers {
			if !in.Scan() || a == "hang up" {
				return
			}
			if _, err := fmt.Fprint(theirs, a); err != nil {
				return
			}
		}
		in.Scan() // keeps the line open
	}()
	t.Cleanup(func() {
		ours.Close()
		<-done
	})
	return term
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		want         Result
		refusal      string
	}{
		{name: "lines", answer: "one\ntwo\n\n=== 1 0\n", want: Result{Text: "one\ntwo"}},
		{name: "no end of the last line", answer: "one\n=== 1 0\n", want: Result{Text: "one"}},
		{name: "nothing written", answer: "\n=== 1 0\n"},
		{name: "an exit code", answer: "no\n\n=== 1 2\n", want: Result{Text: "no", Code: 2}},
		{name: "carriage returns", answer: "one\r\ntwo\r\n\r\n=== 1 0\r\n", want: Result{Text: "one\ntwo"}},
		{name: "what looks like a mark", answer: "=== 1\n=== 1 0 0\n x === 1 0\n\n=== 1 0\n", want: Result{Text: "=== 1\n=== 1 0 0\n x === 1 0"}},
		{name: "the mark of another command", answer: "=== 7 0\n", refusal: "ended command 7, not 1"},
		{name: "the machine ends", answer: "hang up", refusal: "the machine is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := guest(t, tt.answer).Run(limited(t), "command")
			if tt.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refusal) {
					t.Fatalf("error %v, want %s", err, tt.refusal)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%+v, error %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestOutputOfACommandIsNotThatOfTheNext(t *testing.T) {
	term := guest(t, "one\n=== 1 0\n", "two\n=== 2 0\n")
	for _, want := range []string{"one", "two"} {
		got, err := term.Run(limited(t), "command")
		if err != nil || got.Text != want {
			t.Fatalf("%+v, error %v; want %s", got, err, want)
		}
	}
}

func TestUntilALineIsWritten(t *testing.T) {
	for _, tt := range []struct{ name, answer, refusal string }{
		{name: "it comes", answer: "device up\nforwarding\n"},
		{name: "the command ends before", answer: "cannot\n=== 1 2\n", refusal: "exit code 2, without \"forwarding\":\ncannot"},
		{name: "the machine ends before", answer: "hang up", refusal: "the machine is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			term := guest(t, tt.answer)
			if err := term.Start("command"); err != nil {
				t.Fatal(err)
			}
			err := term.Until(limited(t), "forwarding")
			if tt.refusal == "" && err != nil || tt.refusal != "" && (err == nil || !strings.Contains(err.Error(), tt.refusal)) {
				t.Errorf("error %v, want %q", err, tt.refusal)
			}
		})
	}
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	term := guest(t, "so far\n")
	if err := term.Start("command"); err != nil {
		t.Fatal(err)
	}
	if err := term.Until(limited(t), "so far"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := term.Wait(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "so far") {
		t.Errorf("error %v", err)
	}
}

// TestScriptOfTheTerminal lets the other side be the script that the machines
// run. Without a serial line its stty has nothing to set.
func TestScriptOfTheTerminal(t *testing.T) {
	ours, theirs := net.Pipe()
	script := exec.Command("sh", "../initramfs/terminal.sh")
	script.Stdin, script.Stdout = theirs, theirs
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		if err := script.Wait(); err != nil {
			t.Error(err)
		}
	})
	term := NewTerminal(ours)
	ctx := limited(t)
	if _, err := term.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		command string
		want    Result
	}{
		{"echo one; echo two", Result{Text: "one\ntwo"}},
		{"printf 'no end'", Result{Text: "no end"}},
		{"true", Result{}},
		{"(exit 7)", Result{Code: 7}},
		{`printf '%s\n' 'back\slash' "$((6 * 7))"`, Result{Text: "back\\slash\n42"}},
		{"test -e /nonexistent || echo gone", Result{Text: "gone"}},
	} {
		got, err := term.Run(ctx, tt.command)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, error %v; want %+v", tt.command, got, err, tt.want)
		}
	}
}
