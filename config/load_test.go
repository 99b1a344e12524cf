package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	const good = "segments: {vni: 1, remotes: []}"
	tests := []struct {
		name         string
		folder, file fs.FileMode
		text, want   string
	}{
		{"good", 0o755, 0o644, good, ""},
		{"group may write", 0o775, 0o664, good, ""},
		{"sticky folder", 0o777 | fs.ModeSticky, 0o644, good, ""},
		{"open file", 0o755, 0o646, good, ": everyone may write it"},
		{"open folder", 0o777, 0o644, good, ": everyone may replace it"},
		{"bad", 0o755, 0o644, "\nlog: {level: x}\n" + good, `:2: log.level: "x" is none of`},
		{"large", 0o755, 0o644, strings.Repeat("#", maxFile+5), ": is larger than 4 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "d")
			path := filepath.Join(folder, "vtepd.yaml")
			if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(path, []byte(tt.text), 0o600),
				os.Chmod(path, tt.file), os.Chmod(folder, tt.folder)); err != nil {
				t.Fatal(err)
			}
			c, err := Load(path)
			switch {
			case tt.want == "" && (err != nil || len(c.Segments) != 1):
				t.Errorf("%v %v", c, err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), path+tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestLoadLink(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	target, link := filepath.Join(open, "c.yaml"), filepath.Join(dir, "link.yaml")
	if err := errors.Join(os.Mkdir(open, 0o755), os.WriteFile(target, nil, 0o600), os.Chmod(open, 0o777), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(link); err == nil || !strings.Contains(err.Error(), open) {
		t.Errorf("got %v", err)
	}
}

func TestLoadNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "none")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || err.Error() != path+": no such file or directory" {
		t.Errorf("got %v", err)
	}
	if _, err := Load(dir); err == nil || err.Error() != dir+": is a folder; name a file in it" {
		t.Errorf("got %v", err)
	}
}
