package initramfs

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// moduleName is the name of the module in a file: the kernel writes "_" where
// the file may have "-". A file that holds no module has none.
func moduleName(file string) string {
	name, found := strings.CutSuffix(strings.TrimSuffix(filepath.Base(file), ".xz"), ".ko")
	if !found {
		return ""
	}
	return strings.ReplaceAll(name, "-", "_")
}

// findModules returns the files of all modules under a folder such as
// /lib/modules/6.1.0-56-cloud-amd64, by module name.
func findModules(folder string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if name := moduleName(path); err == nil && !d.IsDir() && name != "" {
			files[name] = path
		}
		return err
	})
	return files, err
}

// loadOrder returns the modules that are wanted and those they need, each
// after what it needs; read tells what that is.
func loadOrder(wanted []string, read func(name string) (needed []string, err error)) ([]string, error) {
	var order []string
	state := map[string]int{} // 1: what it needs is being looked up, 2: it is in order
	var visit func(name string) error
	visit = func(name string) error {
		switch state[name] {
		case 2:
			return nil
		case 1:
			return fmt.Errorf("module %s needs itself", name)
		}
		state[name] = 1
		needed, err := read(name)
		if err != nil {
			return err
		}
		for _, n := range needed {
			if err := visit(n); err != nil {
				return fmt.Errorf("%w (needed by %s)", err, name)
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// needs reads what a module depends on from its section .modinfo, strings that
// end in zero bytes. Debian's packages come without modules.dep, which depmod
// makes from the same words.
func needs(modinfo []byte) ([]string, error) {
	for _, entry := range strings.Split(string(modinfo), "\x00") {
		list, found := strings.CutPrefix(entry, "depends=")
		if !found {
			continue
		}
		if list == "" {
			return nil, nil
		}
		return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
	}
	return nil, errors.New("its .modinfo does not say what it depends on")
}

// modules returns the content of the wanted modules of a folder and of what
// they need, and their names in the order of loading. What the kernel has
// built in is needed no more.
func modules(folder string, wanted []string) (order []string, content map[string][]byte, err error) {
	files, err := findModules(folder)
	if err != nil {
		return nil, nil, err
	}
	content = map[string][]byte{}
	order, err = loadOrder(wanted, func(name string) ([]string, error) {
		file, found := files[name]
		if !found {
			return nil, fmt.Errorf("%s has no module %s", folder, name)
		}
		body, err := readModule(file)
		if err != nil {
			return nil, err
		}
		content[name] = body
		info, err := section(body, ".modinfo")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return needs(info)
	})
	return order, content, err
}

// readModule returns a module as insmod takes it, which is not compressed.
func readModule(file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	body, err := exec.Command("xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("xz -dc %s: %w", file, err)
	}
	return body, nil
}

// section returns the content of a section of an ELF file.
func section(body []byte, name string) ([]byte, error) {
	f, err := elf.NewFile(strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	s := f.Section(name)
	if s == nil {
		return nil, fmt.Errorf("no section %s", name)
	}
	return s.Data()
}
