// Command gethpeer is a go-ethereum v1.9.20 node that runs Whisper v6 and
// nothing else. It contains no protocol code: what listens, dials, relays, mines
// and opens messages is the released library, unchanged.
//
// It listens on a loopback port of the system's choice and prints one JSON line,
// {"enode": …, "ipc": …}. Everything else is asked over go-ethereum's own
// JSON-RPC on that socket: shh_post, shh_subscribe, admin_addPeer and so on. It
// ends when standard input does, so that it cannot outlive who started it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/whisper/whisperv6"
)

// defaultPeers is how many links the peer takes, more than any test has nodes.
const defaultPeers = 16

// introduction is the line printed when the peer is up.
type introduction struct {
	Enode string `json:"enode"`
	IPC   string `json:"ipc"`
}

func main() {
	dir := flag.String("dir", "", "folder for the node's files and its socket")
	minPoW := flag.Float64("min-pow", whisperv6.DefaultMinimumPoW, "least proof of work that is accepted")
	maxPeers := flag.Int("max-peers", defaultPeers, "most links")
	verbosity := flag.Int("verbosity", int(log.LvlDebug), "how much is logged to standard error, 0 to 5")
	flag.Parse()
	log.Root().SetHandler(log.LvlFilterHandler(log.Lvl(*verbosity), log.StreamHandler(os.Stderr, log.LogfmtFormat())))
	if err := run(*dir, *minPoW, *maxPeers); err != nil {
		fmt.Fprintln(os.Stderr, "gethpeer:", err)
		os.Exit(1)
	}
}

// run starts the peer and returns when it is told to end.
func run(dir string, minPoW float64, maxPeers int) error {
	if dir == "" {
		return fmt.Errorf("-dir: missing")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		return err
	}
	stack, err := node.New(&node.Config{
		Name:    "gethpeer",
		DataDir: dir,
		IPCPath: filepath.Join(dir, "geth.ipc"),
		NoUSB:   true,
		P2P: p2p.Config{
			PrivateKey:  key,
			ListenAddr:  "127.0.0.1:0",
			MaxPeers:    maxPeers,
			NoDiscovery: true,
		},
	})
	if err != nil {
		return err
	}
	defer stack.Close()
	config := whisperv6.DefaultConfig
	config.MinimumAcceptedPOW = minPoW
	if _, err := whisperv6.New(stack, &config); err != nil {
		return err
	}
	if err := stack.Start(); err != nil {
		return err
	}
	self := introduction{Enode: stack.Server().Self().URLv4(), IPC: stack.IPCEndpoint()}
	if err := json.NewEncoder(os.Stdout).Encode(self); err != nil {
		return err
	}
	waitForEnd()
	return nil
}

// waitForEnd returns at the end of standard input or when asked by a signal.
func waitForEnd() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-asked:
	case <-ended:
	}
}
