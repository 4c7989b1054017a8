package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel/store"
)

// demoStopWithin is how long a node may take to stop when asked.
const demoStopWithin = 4 * time.Second

// demoNode is one child process of the demo.
type demoNode struct {
	dir, name string
	self      introduction
	client    *rpc.Client
	address   string // for a transport that does not tell its own

	cmd    *exec.Cmd
	exited chan error
}

func newDemoNode(dir, name string) *demoNode { return &demoNode{dir: dir, name: name} }

func (n *demoNode) path(suffix string) string { return filepath.Join(n.dir, n.name+suffix) }

// configure writes the configuration file of the node: upper is what it has over
// its transport, and transport the layers that carry for it.
func (n *demoNode) configure(upper, transport string) error {
	if err := os.WriteFile(n.path(".pass"), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	text := strings.NewReplacer("NAME", n.name, "SCRYPT", strconv.Itoa(store.MinScryptN)).Replace(upper) + transport
	return os.WriteFile(n.path(".yaml"), []byte(text), 0o600)
}

const demoRelay = `data_dir: NAME
store: {key: file}
layers:
`

const demoClient = `data_dir: NAME
store: {key: passphrase, passphrase_file: NAME.pass, scrypt_n: SCRYPT}
layers:
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`

// start runs the node as a process of this binary and connects to it.
func (n *demoNode) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.path(".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(self, "run", "--json", "-c", n.path(".yaml"))
	n.cmd.Stderr = log
	n.cmd.SysProcAttr = diesWithParent()
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan error, 1)
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &n.self)
		}
		said <- err
		n.exited <- n.cmd.Wait()
	}()
	select {
	case err := <-said:
		if err != nil {
			return fmt.Errorf("%s did not start: %w", n.name, err)
		}
	case <-ctx.Done():
		return fmt.Errorf("%s did not start: %w", n.name, ctx.Err())
	}
	n.client, err = rpc.Dial(ctx, n.self.IPC)
	return err
}

// kill ends the node as a power cut would.
func (n *demoNode) kill() {
	n.client.Close()
	_ = n.cmd.Process.Kill()
	<-n.exited
	n.cmd = nil
}

// stop asks the node to end. It returns false if that did not help, or the node
// had ended by itself.
func (n *demoNode) stop() bool {
	if n.cmd == nil {
		return true
	}
	if n.client != nil {
		n.client.Close()
	}
	asked := n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-n.exited:
		return err == nil && !errors.Is(asked, os.ErrProcessDone)
	case <-time.After(demoStopWithin):
		_ = n.cmd.Process.Kill()
		<-n.exited
		return false
	}
}

// connected waits until the node has a link to a peer.
func (n *demoNode) connected(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := n.client.Status(ctx)
		if err != nil {
			return err
		}
		if s.Peers > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s found no peer: %w", n.name, ctx.Err())
		}
	}
}
