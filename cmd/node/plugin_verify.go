package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
)

func newPluginVerifyCommand(f *fileFlags) *cobra.Command {
	var asJSON bool
	var settings string
	cmd := &cobra.Command{
		Use:   "verify [COMMAND [ARGS…]]",
		Short: "Start a plugin once and say what it is",
		Long: `Verify starts the plugin of the configuration, or of the command line, as a node
would: it checks its checksums, the handshake and the version, opens it with its
settings, and prints what it says of itself and how it is confined. It exits with
1 if something is wrong. The last line pins the program: paste it into the
settings of the layer, and a node starts this file and no other.

A COMMAND gets the settings "listen" and "peers" on free ports of this machine,
unless --settings has others. That of a configuration has the ports that the file
names, so stop its node before.`,
		Example: "  strata plugin verify -c node.yaml\n  strata plugin verify ./mine --settings '{\"listen\": \"127.0.0.1:0\"}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := subjectOf(f, args, settings)
			if err != nil {
				return misused(err)
			}
			v, err := s.verify(cmd.Context())
			if asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), v), err)
			}
			return errors.Join(v.print(cmd.OutOrStdout()), err)
		},
	}
	cmd.Flags().StringVar(&settings, "settings", "", "settings of the COMMAND, as JSON")
	jsonFlag(cmd, &asJSON, "one JSON object")
	return cmd
}

// subject is a plugin that is looked at.
type subject struct {
	name   string
	args   []string
	config plugin.Config
}

// subjectOf returns the plugin of a command line or, without one, that of the
// configuration.
func subjectOf(f *fileFlags, args []string, settings string) (subject, error) {
	if len(args) == 0 {
		s, err := pluginOfFiles(f)
		if err == nil && s.name == "" {
			err = errors.New("say which plugin: a COMMAND, or a configuration with -c whose transport is a plugin")
		}
		return s, err
	}
	if settings == "" {
		settings = strings.NewReplacer("$PORT0", "0", "$PORT1", "9", "$PORT2", "9").Replace(transporttest.DefaultConfigs()[0])
	}
	c := plugin.DefaultConfig()
	if err := json.Unmarshal([]byte(settings), &c.Config); err != nil {
		return subject{}, fmt.Errorf("--settings: %w", err)
	}
	command, err := pluginCommand(args)
	c.AllowRead = command.AllowRead
	return subject{filepath.Base(args[0]), command.Args, c}, err
}

// pluginOfFiles returns the plugin of the configuration; its name is empty if the
// transport is none, or is compiled in and runs in the node.
func pluginOfFiles(f *fileFlags) (subject, error) {
	cfg, err := f.load()
	if err != nil {
		return subject{}, err
	}
	sec := cfg.Layers["transport"]
	if !isPlugin(sec.Use) {
		return subject{}, nil
	}
	r, err := readPlugin(sec)
	if err != nil || len(r.args) == 0 {
		return subject{}, err
	}
	data, err := filepath.Abs(cfg.DataDir)
	r.config.Hide = []string{data}
	return r, err
}

// file returns the program and its SHA-256.
func (s subject) file() (path, sum string, err error) {
	if path, err = exec.LookPath(s.args[0]); err != nil && !errors.Is(err, exec.ErrDot) {
		return s.args[0], "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return path, "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return path, "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return path, hex.EncodeToString(h.Sum(nil)), err
}

// verified is what was found about a plugin.
type verified struct {
	Program   string          `json:"program"`
	SHA256    string          `json:"sha256"`
	Pinned    bool            `json:"pinned"`
	Protocol  int             `json:"protocol,omitempty"`
	StartedMS int64           `json:"started_ms,omitempty"`
	Confined  string          `json:"confined,omitempty"`
	Info      *transport.Info `json:"info,omitempty"`
}

// verify starts and opens the plugin, and ends it. What it returns with an error
// is what was found before.
func (s subject) verify(ctx context.Context) (v verified, err error) {
	if v.Program, v.SHA256, err = s.file(); err != nil {
		return v, err
	}
	v.Pinned = s.config.SHA256 != ""
	dir, remove, err := ownFolder()
	if err != nil {
		return v, err
	}
	defer remove()
	s.config.Dir = dir
	begin := time.Now()
	run, err := s.opener(slog.New(slog.DiscardHandler))(ctx)
	if err != nil {
		return v, err
	}
	defer run.Kill()
	v.StartedMS, v.Confined = time.Since(begin).Milliseconds(), run.Confinement()
	if r, ok := run.(interface{ Version() int }); ok {
		v.Protocol = r.Version()
	}
	settings, err := json.Marshal(s.config.Config)
	if err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	info, err := run.Open(ctx, transport.Options{
		Config: settings, Dir: dir, Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		return v, fmt.Errorf("%s did not open: %w", s.name, err)
	}
	v.Info = &info
	return v, nil
}

// openTimeout is that of Open in the contract.
const openTimeout = 10 * time.Second

func (v verified) print(w io.Writer) error {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("program", "%s", v.Program)
	if v.Protocol > 0 {
		line("protocol", "version %d, after %d ms", v.Protocol, v.StartedMS)
		line("confined", "%s", v.Confined)
	}
	if i := v.Info; i != nil {
		line("transport", "%s %s", i.Name, i.Version)
		line("carries", "%d bytes for %v, latency %v", i.MaxData, i.MaxTTL, i.Latency)
		line("claims", "sender %s, receiver %s, ordering %s, storage %s", wordOf(i.Sender, hides), wordOf(i.Receiver, hides),
			wordOf(i.Ordering, []string{"none", "by sender"}), wordOf(i.Storage, []string{"none", "for the TTL", "for long"}))
		line("abilities", "%s", strings.Join(abilitiesOf(*i), ", "))
		if len(i.Addresses) > 0 {
			line("addresses", "%s", strings.Join(i.Addresses, ", "))
		}
	}
	if v.Pinned {
		line("pinned", "the program is the one that the configuration names")
	}
	_, err := fmt.Fprintf(w, "sha256: %s\n", cmp.Or(v.SHA256, "unknown"))
	return err
}

// hides are the words for transport.Anonymity.
var hides = []string{"known to peers", "hidden among peers", "hidden in the network", "hidden from all"}

func wordOf[T ~uint8](v T, words []string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprint("unknown ", v)
}

func abilitiesOf(i transport.Info) []string {
	all := []string{"publish", "receive"}
	for _, a := range []struct {
		has  bool
		name string
	}{
		{i.Abilities.Query, "query"},
		{i.Abilities.Peers, "peers"},
		{i.Abilities.Stats, "stats"},
		{i.Receipts, "receipts"},
		{slices.Contains(i.Privacy, transport.PrivacyStem), "stem"},
		{slices.Contains(i.Privacy, transport.PrivacyMix), "mix"},
		{slices.Contains(i.Privacy, transport.PrivacyCover), "cover"},
	} {
		if a.has {
			all = append(all, a.name)
		}
	}
	return all
}
