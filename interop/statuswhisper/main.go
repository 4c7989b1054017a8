// Command statuspeer is a node that runs github.com/status-im/whisper v1.6.2 on
// the go-ethereum it was released with, and nothing else. What listens, dials,
// relays, confirms, mines and opens messages is the released library, unchanged.
// The library has the protocol of a mail server but no mail server: what is kept
// and which of it matches is in mailserver.go.
//
// It listens on a loopback port of the system's choice and prints one JSON line,
// {"enode": …, "ipc": …}. Everything else is asked over JSON-RPC on that socket:
// the library's own shh_*, admin_peers and admin_addPeer as go-ethereum has them,
// and mail_* of control.go. It ends when standard input does, so that it cannot
// outlive who started it.
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
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/status-im/whisper/whisperv6"
)

// maxPeers is how many links the peer takes, more than any test has nodes.
const maxPeers = 16

// introduction is the line printed when the peer is up.
type introduction struct {
	Enode string `json:"enode"`
	IPC   string `json:"ipc"`
}

func main() {
	dir := flag.String("dir", "", "folder for the socket")
	minPoW := flag.Float64("min-pow", whisperv6.DefaultMinimumPoW, "least proof of work that is accepted")
	silent := flag.Bool("no-confirmations", false, "do not confirm what is received")
	server := flag.String("mail-server", "", "keep all envelopes and answer requests: rlp6 or rlp7, the form of sealed requests that is understood")
	password := flag.String("mail-password", "", "what sealed requests are encrypted with")
	verbosity := flag.Int("verbosity", int(log.LvlDebug), "how much is logged to standard error, 0 to 5")
	flag.Parse()
	log.Root().SetHandler(log.LvlFilterHandler(log.Lvl(*verbosity), log.StreamHandler(os.Stderr, log.LogfmtFormat())))
	config := whisperv6.DefaultConfig
	config.MinimumAcceptedPOW = *minPoW
	config.DisableConfirmations = *silent
	if err := run(*dir, config, *server, *password); err != nil {
		fmt.Fprintln(os.Stderr, "statuspeer:", err)
		os.Exit(1)
	}
}

// run starts the peer and returns when it is told to end.
func run(dir string, config whisperv6.Config, server, password string) error {
	if dir == "" {
		return fmt.Errorf("-dir: missing")
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		return err
	}
	shh := whisperv6.New(&config)
	control := &mailAPI{shh: shh, key: key}
	if server != "" {
		if control.box, err = newMailbox(shh, server, password); err != nil {
			return err
		}
		shh.RegisterServer(control.box)
	}
	net := &p2p.Server{Config: p2p.Config{
		Name: "statuspeer", PrivateKey: key, ListenAddr: "127.0.0.1:0", MaxPeers: maxPeers, NoDiscovery: true,
		Protocols: shh.Protocols(),
	}}
	if err := net.Start(); err != nil {
		return err
	}
	defer net.Stop()
	if err := shh.Start(net); err != nil {
		return err
	}
	self := introduction{Enode: net.Self().URLv4(), IPC: filepath.Join(dir, "status.ipc")}
	apis := append(shh.APIs(),
		rpc.API{Namespace: "admin", Version: "1.0", Service: &adminAPI{net}},
		rpc.API{Namespace: "mail", Version: "1.0", Service: control})
	listener, _, err := rpc.StartIPCEndpoint(self.IPC, apis)
	if err != nil {
		return err
	}
	defer listener.Close()
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
