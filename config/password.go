package config

import (
	"errors"
	"io"
	"os"
	"strings"
)

// maxPassword is more bytes than any password has.
const maxPassword = 4 << 10

// ReadPassword reads the first line of a file as a password. A file that all
// may read is refused: the password would be everyone's. Errors never hold the
// password.
func ReadPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", plainError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", plainError(path, err)
	}
	const everyone = 0o007
	switch {
	case !info.Mode().IsRegular():
		return "", refused(path, "is not a file with a password")
	case info.Mode().Perm()&everyone != 0:
		return "", refused(path, "everyone may read it; take that away with chmod o-rwx")
	}
	if err := guarded(path, info); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", plainError(path, err)
	}
	if len(data) > maxPassword {
		return "", refused(path, "has more than %d bytes, which is no password", maxPassword)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", plainError(path, errors.New("has no password in its first line"))
	}
	return line, nil
}
