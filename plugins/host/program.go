package host

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrChecksum is what Start returns, wrapped, for a file whose SHA-256 is not
// the expected one. Starting again is no remedy.
var ErrChecksum = errors.New("checksum")

// maxShebang is the length in bytes of the first line of a script above which
// it is refused, as Linux does.
const maxShebang = 256

// program is a program that was checked, and is kept open so that nothing else
// is executed than what was checked.
type program struct {
	file *os.File
	path string   // absolute
	args []string // what it is called with, its name included

	// stamp is compared once more before it is executed, because a file can be
	// written to while it is open.
	stamp stamp

	pins map[string]string // files to be checked once more where they are copied
	read []string          // files that were named
}

// openProgram finds the program of c, and checks it and the pinned files.
func openProgram(c Command) (*program, error) {
	found, err := exec.LookPath(c.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, fmt.Errorf("host: args: %w", err)
	}
	path, err := filepath.Abs(found)
	if err != nil {
		return nil, fmt.Errorf("host: args: %w", err)
	}
	p := &program{path: path, args: slices.Clone(c.Args), pins: maps.Clone(c.Pins)}
	if p.pins == nil {
		p.pins = make(map[string]string)
	}
	if err := p.open(c.SHA256); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(p.pins)) {
		if err := checkFile(path, p.pins[path]); err != nil {
			p.close()
			return nil, err
		}
	}
	for _, a := range p.args[1:] {
		if info, err := os.Stat(a); err == nil && filepath.IsAbs(a) && info.Mode().IsRegular() {
			p.read = append(p.read, a)
		}
	}
	return p, nil
}

// open opens and checks the file at p.path. A script is replaced by its
// interpreter, as the kernel would do, and becomes a pinned file.
func (p *program) open(sum string) error {
	f, err := openRegular(p.path)
	if err != nil {
		return err
	}
	start, err := bufio.NewReaderSize(io.NewSectionReader(f, 0, maxShebang), maxShebang).Peek(maxShebang)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return fmt.Errorf("host: args: %w", err)
	}
	if !bytes.HasPrefix(start, []byte("#!")) {
		p.file = f
		if p.stamp, err = stampOf(f); err == nil && sum != "" {
			err = checkSum(f, sum)
		}
		if err != nil {
			f.Close()
		}
		return err
	}
	f.Close()
	return p.openScript(start, sum)
}

func (p *program) openScript(start []byte, sum string) error {
	line, _, ok := bytes.Cut(start[2:], []byte("\n"))
	interpreter, option, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	if !ok || !filepath.IsAbs(interpreter) {
		return fmt.Errorf("host: args: %s: its first line names no interpreter by an absolute path", p.path)
	}
	script := p.path
	if sum != "" {
		p.pins[script] = sum
	}
	args := []string{interpreter}
	if option = strings.TrimSpace(option); option != "" {
		args = append(args, option)
	}
	p.args = slices.Concat(args, []string{script}, p.args[1:])
	p.path = interpreter

	f, err := openRegular(interpreter)
	if err != nil {
		return err
	}
	p.file = f
	if p.stamp, err = stampOf(f); err != nil {
		f.Close()
	}
	return err
}

func (p *program) close() { p.file.Close() }

// openRegular opens a regular file; another kind might block.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("host: %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	return f, nil
}

func checkFile(path, sum string) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkSum(f, sum)
}

// checkSum compares the SHA-256 of all of f with want, in hex.
func checkSum(f *os.File, want string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	h := sha256.New()
	// A section leaves the offset of the descriptor alone.
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return fmt.Errorf("host: %w", err)
	}
	return compareSums(f.Name(), want, hex.EncodeToString(h.Sum(nil)))
}

func compareSums(path, want, got string) error {
	if want = strings.ToLower(want); want != got {
		return fmt.Errorf("host: %s: %w: expected %.12s…, found %.12s…", path, ErrChecksum, want, got)
	}
	return nil
}
