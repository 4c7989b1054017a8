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

	cmd    *exec.Cmd
	exited chan error
}

func newDemoNode(dir, name string) *demoNode { return &demoNode{dir: dir, name: name} }

func (n *demoNode) path(suffix string) string { return filepath.Join(n.dir, n.name+suffix) }

// configure writes the configuration file of the node: that of a relay, or of a
// client of the relay with the given enode.
func (n *demoNode) configure(relay string) error {
	if relay == "" {
		return os.WriteFile(n.path(".yaml"), []byte(fmt.Sprintf(demoRelay, n.name)), 0o600)
	}
	text := fmt.Sprintf(demoClient, n.name, n.name, store.MinScryptN, relay)
	if err := os.WriteFile(n.path(".pass"), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(n.path(".yaml"), []byte(text), 0o600)
}

const demoRelay = `data_dir: %s
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything}}
`

const demoClient = `data_dir: %s
store: {key: passphrase, passphrase_file: %s.pass, scrypt_n: %d}
layers:
  overlay:
    use: devp2p
    settings: {inbound: false, static_nodes: ["%s"]}
  transport: {use: whisper, settings: {interest: subscribed}}
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
