package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/kernel/store"
)

// maxPassphrase bounds what is read from a passphrase file, in bytes.
const maxPassphrase = 4 << 10

// storeKey returns how the store of cfg is opened. The passphrase comes from the
// file the configuration names, from the environment, or from whoever sits at
// the terminal; never from the command line, which others can see.
func storeKey(cfg kernel.Config, prompt io.Writer) (store.Key, error) {
	if cfg.Store.Key == "file" {
		return store.FileKey(), nil
	}
	phrase, err := passphrase(cfg, prompt)
	if err != nil {
		return store.Key{}, err
	}
	return store.PassphraseKey(phrase), nil
}

func passphrase(cfg kernel.Config, prompt io.Writer) ([]byte, error) {
	if file := cfg.Store.PassphraseFile; file != "" {
		return passphraseFile(file)
	}
	if name := cfg.Store.PassphraseEnv; name != "" {
		if phrase, ok := os.LookupEnv(name); ok {
			// What the node starts later must not inherit it.
			os.Unsetenv(name)
			return []byte(phrase), nil
		}
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, misused(fmt.Errorf(
			"no passphrase: set store.passphrase_file or the environment variable %s, or start in a terminal", cfg.Store.PassphraseEnv))
	}
	return ask(cfg.DataDir, prompt)
}

// passphraseFile returns the first line of a file.
func passphraseFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, misused(fmt.Errorf("store.passphrase_file: %w", err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase))
	if err != nil {
		return nil, misused(fmt.Errorf("store.passphrase_file: %w", err))
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, misused(fmt.Errorf("store.passphrase_file: %s: the first line is empty", file))
	}
	return line, nil
}

// ask prompts for the passphrase, twice for a new data folder.
func ask(dataDir string, prompt io.Writer) ([]byte, error) {
	read := func(text string) ([]byte, error) {
		fmt.Fprint(prompt, text)
		defer fmt.Fprintln(prompt)
		return term.ReadPassword(int(os.Stdin.Fd()))
	}
	if _, err := os.Stat(filepath.Join(dataDir, "db.key")); err == nil {
		return read("Passphrase: ")
	}
	first, err := read("New passphrase for " + dataDir + ": ")
	if err != nil {
		return nil, err
	}
	second, err := read("Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passphrases differ")
	}
	return first, nil
}
