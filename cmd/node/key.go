package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
)

func newKeyCommand(f *fileFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, import and show the chat key of a data folder",
		Long: `The chat key is the identity of the user: others write to its public half. It
lies in the encrypted store of the data folder, which has one chat key for good,
because sessions and history belong to it.`,
		RunE: group,
	}
	cmd.AddCommand(newKeyNewCommand(f), newKeyImportCommand(f), newKeyShowCommand(f))
	return cmd
}

func newKeyNewCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "new",
		Short:   "Draw a chat key",
		Long:    "New draws a chat key for a data folder that has none. A node that is run without one does the same by itself.",
		Example: "  strata key new -c configs/client.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd, f, func(s *store.Store) error {
				key, err := layers.GenerateKey(rand.Reader)
				if err != nil {
					return err
				}
				if err := setIdentity(s, key); err != nil {
					return err
				}
				return printKey(cmd.OutOrStdout(), key.Public(), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func newKeyImportCommand(f *fileFlags) *cobra.Command {
	var asJSON, mnemonic bool
	var path string
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take a chat key from standard input",
		Long: `Import reads a chat key from standard input, never from the command line, which
others can see: 64 hexadecimal digits, or with --mnemonic the words of a wallet
(BIP39), from which the key is derived at --path (EIP-1581 by default; accounts
from before 2020 use ` + layers.WalletKeyPath + `).`,
		Example: `  strata key import < key.hex
  strata key import --mnemonic`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := readSecretKey(cmd.InOrStdin(), cmd.ErrOrStderr(), mnemonic, path)
			if err != nil {
				return misused(err)
			}
			return withStore(cmd, f, func(s *store.Store) error {
				if err := setIdentity(s, key); err != nil {
					return err
				}
				return printKey(cmd.OutOrStdout(), key.Public(), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	cmd.Flags().BoolVar(&mnemonic, "mnemonic", false, "read the words of a wallet instead of a key")
	cmd.Flags().StringVar(&path, "path", layers.ChatKeyPath, "derivation path for --mnemonic")
	return cmd
}

// readSecretKey reads one line that holds a key or a mnemonic, without echo at a
// terminal. No error quotes it.
func readSecretKey(in io.Reader, prompt io.Writer, mnemonic bool, path string) (layers.PrivateKey, error) {
	var line []byte
	var err error
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		fmt.Fprint(prompt, "Secret: ")
		line, err = term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(prompt)
	} else {
		line, err = bufio.NewReader(io.LimitReader(in, maxPassphrase)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return layers.PrivateKey{}, err
	}
	text := strings.TrimSpace(string(line))
	if mnemonic {
		seed, err := layers.SeedFromMnemonic(text, "")
		if err != nil {
			return layers.PrivateKey{}, err
		}
		return layers.DeriveKey(seed, path)
	}
	return layers.ParsePrivateKeyText(text)
}

func newKeyShowCommand(f *fileFlags) *cobra.Command {
	var asJSON, secret bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the chat key",
		Long: `Show prints the public chat key, of the running node if there is one. With
--secret it prints the private key instead, for a backup; the node must not be
running, because only one process can open the data folder.`,
		Example: "  strata key show",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !secret {
				if key, ok := runningKey(cmd, f); ok {
					return printKey(cmd.OutOrStdout(), key, asJSON)
				}
			}
			return withStore(cmd, f, func(s *store.Store) error {
				key, _, err := loadKey(s, identityKey, false)
				if err != nil {
					return err
				}
				if key.IsZero() {
					return errors.New("this data folder has no chat key (make one with: strata key new)")
				}
				if secret {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%x\n", key.Secret())
					return err
				}
				return printKey(cmd.OutOrStdout(), key.Public(), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	cmd.Flags().BoolVar(&secret, "secret", false, "print the private key, in hex")
	cmd.MarkFlagsMutuallyExclusive("json", "secret")
	return cmd
}

// runningKey asks a running node for its chat key.
func runningKey(cmd *cobra.Command, f *fileFlags) (layers.PublicKey, bool) {
	path, err := f.ipcPath(cmd)
	if err != nil {
		return layers.PublicKey{}, false
	}
	client, err := rpc.Dial(cmd.Context(), path)
	if err != nil {
		return layers.PublicKey{}, false
	}
	defer client.Close()
	id, err := client.Identity(cmd.Context())
	return id.ChatKey, err == nil && !id.ChatKey.IsZero()
}

// withStore opens the store of the configuration for one command.
func withStore(cmd *cobra.Command, f *fileFlags, use func(*store.Store) error) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	key, err := storeKey(cfg, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	s, err := store.Open(cfg.DataDir, store.Options{Key: key, ScryptN: cfg.Store.ScryptN})
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s)
}

func printKey(w io.Writer, key layers.PublicKey, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]layers.PublicKey{"key": key})
	}
	_, err := fmt.Fprintln(w, key)
	return err
}
