package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Load reads the file at path as [Parse] does. A file that everyone may change
// is refused: who can write it decides what a privileged daemon does.
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// read is the file's content, or one byte more than the limit.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plainError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, plainError(path, err)
	}
	if info.IsDir() {
		return nil, refused(path, "is a folder; name a file in it")
	}
	if err := guarded(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plainError(path, err)
	}
	return data, nil
}

// guarded refuses a file that everyone may write or replace. A link is as open
// as its folder and its target's.
func guarded(path string, info fs.FileInfo) error {
	const everyone = 0o002
	if info.Mode().Perm()&everyone != 0 {
		return refused(path, "everyone may write it; take that away with chmod o-w")
	}
	folders := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		folders = append(folders, filepath.Dir(target))
	}
	for _, folder := range folders {
		in, err := os.Stat(folder)
		if err != nil {
			return plainError(path, err)
		}
		if in.Mode().Perm()&everyone != 0 && in.Mode()&fs.ModeSticky == 0 {
			return refused(path, "everyone may replace it, as its folder %s is writable by all; use chmod o-w", folder)
		}
	}
	return nil
}

func refused(path, format string, args ...any) error {
	r := &report{file: path}
	r.refuse(0, "", format, args...)
	return r.err()
}

// plainError names the file once, and first, as problems do.
func plainError(path string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
