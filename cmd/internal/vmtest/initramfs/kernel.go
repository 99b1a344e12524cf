package initramfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A Kernel is one of Debian's, unpacked from its package.
type Kernel struct {
	// Package is the name of the package's file, with its version.
	Package string
	// Image is the file that a machine boots.
	Image string
	// Modules is the folder of the kernel's modules.
	Modules string
}

// cloudKernel is the package that depends on Debian's present kernel for
// virtual machines.
const cloudKernel = "linux-image-cloud-amd64"

// Unpack takes a kernel out of a Debian package into a folder.
func Unpack(ctx context.Context, deb, folder string) (*Kernel, error) {
	if err := os.RemoveAll(folder); err != nil {
		return nil, err
	}
	if _, err := output(ctx, "", "dpkg-deb", "-x", deb, folder); err != nil {
		return nil, err
	}
	k := &Kernel{Package: filepath.Base(deb)}
	for _, f := range []struct {
		pattern string
		to      *string
	}{{"boot/vmlinuz-*", &k.Image}, {"lib/modules/*", &k.Modules}, {"usr/lib/modules/*", &k.Modules}} {
		found, err := filepath.Glob(filepath.Join(folder, f.pattern))
		if err != nil {
			return nil, err
		}
		if len(found) == 1 {
			*f.to = found[0]
		}
	}
	if k.Image == "" || k.Modules == "" {
		return nil, fmt.Errorf("%s holds no kernel with modules", deb)
	}
	return k, nil
}

// Download gets the package of Debian's cloud kernel into a folder, unless it
// is there, and returns its file. Nothing is installed. Root's lists of
// packages are brought up to date when they are missing or too old for that.
func Download(ctx context.Context, folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	file, err := download(ctx, folder)
	if err == nil || ctx.Err() != nil || os.Geteuid() != 0 {
		return file, err
	}
	if _, err := output(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return "", err
	}
	return download(ctx, folder)
}

func download(ctx context.Context, folder string) (string, error) {
	name, err := kernelPackage(ctx)
	if err != nil {
		return "", err
	}
	pattern := filepath.Join(folder, name+"_*.deb")
	if found, err := filepath.Glob(pattern); err == nil && len(found) == 1 {
		return found[0], nil
	}
	if _, err := output(ctx, folder, "apt-get", "download", "-qq", name); err != nil {
		return "", err
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("apt-get download left %d files of the pattern %s", len(found), pattern)
	}
	return found[0], nil
}

// kernelPackage asks apt which package the cloud kernel is in at present.
func kernelPackage(ctx context.Context) (string, error) {
	text, err := output(ctx, "", "apt-cache", "depends", cloudKernel)
	if err != nil {
		return "", err
	}
	return dependency(text)
}

// dependency reads the versioned kernel package out of what `apt-cache
// depends` says.
func dependency(text string) (string, error) {
	m := regexp.MustCompile(`(?m)^ *Depends: (linux-image-\d\S*)$`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s depends on no kernel; are apt's lists there (apt-get update)?", cloudKernel)
	}
	return m[1], nil
}

// output runs a command in a folder and returns what it wrote.
func output(ctx context.Context, folder, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, text)
	}
	return string(text), nil
}
