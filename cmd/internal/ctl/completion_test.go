package ctl

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var stdout, stderr bytes.Buffer
		code := Run(context.Background(), []string{"completion", shell}, &stdout, &stderr, "")
		if code != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), "vtepctl") ||
			!strings.Contains(stdout.String(), "__complete") {
			t.Errorf("%s: exit code %d, stderr %q, stdout of %d bytes", shell, code, stderr.String(), stdout.Len())
		}
	}
}
