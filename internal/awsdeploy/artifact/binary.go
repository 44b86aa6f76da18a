package artifact

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The architectures that tasks and functions can have, in Go's words.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Architecture says whether there is such an architecture on Fargate and Lambda.
func Architecture(arch string) bool { _, ok := machines[arch]; return ok }

// Binary is a Linux build of this program.
type Binary struct {
	Path string
	// Data is what is needed to run it.
	Data []byte
	// Static is false for one that needs a C library, which the image does not have.
	Static bool
}

// Source says where a Linux build of this program may be.
type Source struct {
	// Given is the path on the command line; empty = look for one.
	Given string
	// Executable is the path of the running program, OS and Arch are its own.
	Executable, OS, Arch string
}

// ErrNoBinary says that no Linux build of the architecture was found.
var ErrNoBinary = errors.New("no Linux build of this program")

// ReleaseName is the name that a release gives the Linux build of an architecture.
func ReleaseName(arch string) string { return "zae-limiter_linux_" + arch }

// Find reads the Linux build for an architecture: the file given, the running program itself where it is
// one, or the file of a release beside it or in dist/.
func (s *Source) Find(arch string) (*Binary, error) {
	if s.Given != "" {
		return readBinary(s.Given, arch)
	}
	if s.OS == "linux" && s.Arch == arch {
		return readBinary(s.Executable, arch)
	}
	beside := filepath.Dir(s.Executable)
	candidates := []string{filepath.Join(beside, ReleaseName(arch)), filepath.Join(beside, "dist", ReleaseName(arch)), filepath.Join("dist", ReleaseName(arch))}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return readBinary(path, arch)
		}
	}
	return nil, fmt.Errorf("%w for %s: this one is for %s/%s, and there is no %s beside it or in dist", ErrNoBinary, arch, s.OS, s.Arch, ReleaseName(arch))
}

func readBinary(path, arch string) (*Binary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("binary: %w", err)
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("binary %s is no Linux program: %w", path, err)
	}
	if file.Machine != machines[arch] {
		return nil, fmt.Errorf("binary %s is for %s, not for %s", path, file.Machine, arch)
	}
	b := &Binary{Path: path, Data: loadable(data, file), Static: true}
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			b.Static = false
		}
	}
	return b, nil
}

// Offsets in the header of a 64-bit ELF file.
const (
	sectionsOffset = 0x28 // where the table of sections is, 8 bytes
	sectionsSize   = 0x3a // size of an entry, number of entries, index of the names: 2 bytes each
	headerSize     = 0x40
)

// loadable is the part of a program that is loaded to run it: what `go run` builds has symbols and debug
// information behind that, which are half of the file, and which stripped builds do not have. Programs are
// loaded by segments; the table of sections is for tools.
func loadable(data []byte, file *elf.File) []byte {
	end := uint64(headerSize)
	for _, program := range file.Progs {
		end = max(end, program.Off+program.Filesz)
	}
	if file.Class != elf.ELFCLASS64 || file.ByteOrder != binary.LittleEndian || end > uint64(len(data)) {
		return data
	}
	loaded := bytes.Clone(data[:end])
	clear(loaded[sectionsOffset : sectionsOffset+8])
	clear(loaded[sectionsSize:headerSize])
	return loaded
}
