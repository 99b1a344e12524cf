package initramfs

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraryFolders are where Debian's dynamic linker looks without being told.
func libraryFolders() []string {
	return []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}
}

// libraries returns the files that the programs need at run time: the dynamic
// linker and all shared libraries, as paths at which they are looked for.
// Programs that are static need none.
func libraries(programs ...string) ([]string, error) {
	seen := map[string]bool{}
	var files []string
	var visit func(file string) error
	visit = func(file string) error {
		wanted, err := imports(file)
		if err != nil {
			return err
		}
		for _, name := range wanted {
			// The linker's path comes first; the C library names it once more.
			if seen[filepath.Base(name)] {
				continue
			}
			seen[filepath.Base(name)] = true
			path, err := findLibrary(name)
			if err != nil {
				return fmt.Errorf("%w (needed by %s)", err, file)
			}
			files = append(files, path)
			if err := visit(path); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range programs {
		if err := visit(p); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// imports returns what an ELF file asks for: the path of the dynamic linker, and
// names of libraries.
func imports(file string) ([]string, error) {
	r, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if s := f.Section(".interp"); s != nil {
		linker, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		names = append([]string{strings.TrimRight(string(linker), "\x00")}, names...)
	}
	return names, nil
}

// findLibrary returns the path of a library by its name. A path is taken as it
// is.
func findLibrary(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, folder := range libraryFolders() {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no library %s", name)
}
