package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// maxHandshake is the longest line, in bytes, that is read as a handshake; it
// holds a path and perhaps a certificate.
const maxHandshake = 16 << 10

func newPluginRunCommand() *cobra.Command {
	var d devRun
	cmd := &cobra.Command{
		Use:   "run --dev COMMAND [ARGS…]",
		Short: "Run a plugin in the foreground, for a debugger",
		Long: `Run starts a plugin on a socket of a known name and prints what to write into the
configuration of a node that is to use it, and how to attach a debugger. Nothing
has a time limit, nothing is confined and nothing encrypted, so the plugin may be
stopped at a breakpoint for as long as you like; its output goes to the terminal.

A plugin ends when its node does. It is then started again, on the same socket,
until you interrupt it; it is an error if it ends by itself.`,
		Example: `  strata plugin run --dev ./mine
  strata plugin run --dev --socket mine.sock /usr/bin/python3 ./mine.py`,
		Args: commandArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !d.dev {
				return misused(errors.New("a node runs a plugin by itself, see docs/add-a-transport.md; for a debugger say --dev"))
			}
			return d.run(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&d.dev, "dev", false, "for development: without limits of time, confinement and encryption")
	cmd.Flags().StringVar(&d.socket, "socket", "", "where the node will find it (default: a new name)")
	cmd.Flags().BoolVar(&d.once, "once", false, "end with the first node")
	jsonFlag(cmd, &d.asJSON, "one JSON object for each start: pid, version, socket")
	return cmd
}

// devRun is what the flags of "plugin run" say.
type devRun struct {
	dev, once, asJSON bool
	socket            string
}

// devStart is what is printed of a start.
type devStart struct {
	PID     int    `json:"pid"`
	Version int    `json:"version"`
	Socket  string `json:"socket"`
}

func (d devRun) run(cmd *cobra.Command, args []string) error {
	c, err := pluginCommand(args)
	if err != nil {
		return err
	}
	dir, remove, err := ownFolder()
	if err != nil {
		return err
	}
	defer remove()
	if d.socket == "" {
		d.socket = filepath.Join(dir, "plugin.sock")
	}
	if d.socket, err = filepath.Abs(d.socket); err != nil {
		return err
	}
	defer func() { unlink(d.socket) }()
	for {
		ended := d.start(cmd, c.Args, dir)
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case ended != nil:
			return fmt.Errorf("%s: %w", args[0], ended)
		case d.once:
			return nil
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "the plugin has ended in good order, as it does when its node leaves; starting it again")
	}
}

// start runs the plugin once, until it ends.
func (d devRun) start(cmd *cobra.Command, args []string, dir string) error {
	sockets, err := os.MkdirTemp(dir, "s") // a new one each time: nobody is there yet
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	child := exec.CommandContext(ctx, args[0], args[1:]...)
	child.Env = append(withoutStrata(os.Environ()), "STRATA_TRANSPORT=v1", "PLUGIN_PROTOCOL_VERSIONS=2",
		"PLUGIN_UNIX_SOCKET_DIR="+sockets, "TMPDIR="+dir, "STRATA_DIR="+dir)
	child.Stderr = cmd.ErrOrStderr()
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(out, maxHandshake)
	version, socket, err := readHandshake(lines)
	if err == nil {
		err = relink(socket, d.socket)
	}
	if err == nil {
		err = d.introduce(cmd, devStart{child.Process.Pid, version, d.socket})
	}
	if err != nil {
		cancel()
	}
	io.Copy(cmd.ErrOrStderr(), lines) // until the plugin ends
	ended := child.Wait()
	if err != nil {
		return err
	}
	return ended
}

// withoutStrata removes the node's own variables: one may be a passphrase.
func withoutStrata(env []string) (kept []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, "STRATA_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// readHandshake reads the line that the head of transport.proto describes.
func readHandshake(r *bufio.Reader) (version int, socket string, err error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return 0, "", fmt.Errorf("printed more than %d bytes without a handshake", maxHandshake)
	case err != nil && len(line) == 0:
		return 0, "", errors.New("ended before the handshake; what it said is above")
	}
	parts := strings.Split(strings.TrimSpace(string(line)), "|")
	if len(parts) < 5 || parts[0] != "1" || parts[2] != "unix" || parts[4] != "grpc" {
		return 0, "", fmt.Errorf("printed %s where the handshake 1|VERSION|unix|SOCKET|grpc| should be", printable(fmt.Sprintf("%.200q", line)))
	}
	version, err = strconv.Atoi(parts[1])
	if err != nil || version != 2 {
		return 0, "", fmt.Errorf("chose version %.20q of the protocol, was offered 2", parts[1])
	}
	return version, parts[3], nil
}

// relink makes name lead to a socket, wherever it led before.
func relink(socket, name string) error {
	if err := unlink(name); err != nil {
		return err
	}
	return os.Symlink(socket, name)
}

// unlink removes a link, and nothing that is something else.
func unlink(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s is there already", name)
	}
	return os.Remove(name)
}

func (d devRun) introduce(cmd *cobra.Command, s devStart) error {
	if d.asJSON {
		return printJSON(cmd.OutOrStdout(), s)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `the plugin runs as process %d and speaks version %d
a node with this in its configuration file will use it:

layers:
  transport:
    use: plugin
    settings:
      attach: unix:%s
      config: {}   # the settings of your transport

a debugger for Go: dlv attach %[1]d
interrupt with ^C

`, s.PID, s.Version, s.Socket)
	return err
}
