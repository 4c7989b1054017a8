package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

const relayConfig = `data_dir: %s
log: {level: debug}
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything}}
`

const clientConfig = `data_dir: %s
log: {level: debug}
store: {key: passphrase, passphrase_file: %s, scrypt_n: 4096}
layers:
  overlay:
    use: devp2p
    settings: {inbound: false, static_nodes: [%s]}
  transport: {use: whisper, settings: {interest: subscribed}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`

// serverConfig is a mail server, and listenerConfig a client that can be dialled.
// mailClientConfig has all envelopes of the past from one mail server.
const (
	serverConfig = `data_dir: %s
log: {level: debug}
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything, mail_password: ` + mailPassword + `}}
  archive: {use: sqlite, settings: {retention: 720h}}
`
	listenerConfig = `data_dir: %s
log: {level: debug}
store: {key: passphrase, passphrase_file: %s, scrypt_n: 4096}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: subscribed}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`
	mailClientConfig = `data_dir: %s
log: {level: debug}
store: {key: passphrase, passphrase_file: %s, scrypt_n: 4096}
layers:
  overlay: {use: devp2p, settings: {inbound: false}}
  transport:
    use: whisper
    settings: {interest: subscribed, mail_servers: [%q], mail_password: ` + mailPassword + `}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`
)

// mailPassword is what all mail servers of the Status network share.
const mailPassword = "status-offline-inbox"

// strata is one node of ours, used through its command line; only what waits
// uses its socket.
type strata struct {
	*stage
	name    string
	dir     string
	enode   string
	key     hexutil.Bytes // chat key, 65 bytes; nil for a relay
	rpc     *rpc.Client
	arrived chan chatMessage
	moved   chan statusChange
}

// chatMessage is a message as strata history and listen tell it.
type chatMessage struct {
	ID         string        `json:"id"`
	Chat       string        `json:"chat"`
	From       hexutil.Bytes `json:"from"`
	Text       string        `json:"text"`
	Clock      uint64        `json:"clock"`
	Public     bool          `json:"public"`
	Own        bool          `json:"own"`
	Protection string        `json:"protection"`
	Status     string        `json:"status"`
	Reason     string        `json:"reason"`
}

// statusChange says how far an own message has come.
type statusChange struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Reason string `json:"reason"`
}

// notice is one item of a subscription of the node.
type notice struct {
	Message *chatMessage  `json:"message"`
	Status  *statusChange `json:"status"`
	Ended   string        `json:"ended"`
}

// newRelay starts a node that relays and nothing else.
func (s *stage) newRelay(name string) *strata {
	s.Helper()
	return s.newStrata(name, fmt.Sprintf(relayConfig, s.path(name)))
}

// newClient starts a node with all layers that keeps links to the given nodes.
func (s *stage) newClient(name string, to ...string) *strata {
	s.Helper()
	pass := s.passphrase(name)
	var nodes []string
	for _, enode := range to {
		nodes = append(nodes, fmt.Sprintf("%q", enode))
	}
	n := s.newStrata(name, fmt.Sprintf(clientConfig, s.path(name), pass, strings.Join(nodes, ", ")))
	n.subscribe()
	return n
}

// newServer starts a mail server.
func (s *stage) newServer(name string) *strata {
	s.Helper()
	return s.newStrata(name, fmt.Sprintf(serverConfig, s.path(name)))
}

// newSyncedServer starts a mail server that takes over what others have.
func (s *stage) newSyncedServer(name, from string) *strata {
	s.Helper()
	config := fmt.Sprintf(serverConfig, s.path(name))
	const archive = "settings: {retention: 720h"
	if !strings.Contains(config, archive) {
		s.Fatal("the configuration of a mail server has no archive")
	}
	return s.newStrata(name, strings.Replace(config, archive, archive+fmt.Sprintf(", sync: [%q]", from), 1))
}

// newListener starts a client that others dial.
func (s *stage) newListener(name string) *strata {
	s.Helper()
	n := s.newStrata(name, fmt.Sprintf(listenerConfig, s.path(name), s.passphrase(name)))
	n.subscribe()
	return n
}

// newMailClient starts a client of a mail server.
func (s *stage) newMailClient(name, server string) *strata {
	s.Helper()
	n := s.newStrata(name, fmt.Sprintf(mailClientConfig, s.path(name), s.passphrase(name), server))
	n.subscribe()
	return n
}

func (s *stage) passphrase(name string) (file string) {
	s.Helper()
	file = s.path(name + ".pass")
	s.must("passphrase", os.WriteFile(file, []byte("four words are enough\n"), 0o600))
	return file
}

// shh is the node as a client of go-ethereum's API sees it.
func (n *strata) shh() *geth { return &geth{stage: n.stage, name: n.name, enode: n.enode, rpc: n.rpc} }

func (s *stage) newStrata(name, config string) *strata {
	s.Helper()
	file := s.path(name + ".yaml")
	s.must("configuration", os.WriteFile(file, []byte(config), 0o600))
	var intro struct{ Enode, Key, IPC string }
	s.start(name, &intro, strataBin, "run", "--json", "-c", file)
	n := &strata{stage: s, name: name, dir: s.path(name), enode: intro.Enode}
	if intro.Key != "" {
		var err error
		n.key, err = hexutil.Decode(intro.Key)
		s.must("key of "+name, err)
	}
	var err error
	n.rpc, err = rpc.DialContext(s.ctx, intro.IPC)
	s.must("connect to "+name, err)
	s.Cleanup(n.rpc.Close)
	return n
}

// subscribe sorts what the node reports into two channels.
func (n *strata) subscribe() {
	n.Helper()
	n.arrived, n.moved = make(chan chatMessage, 256), make(chan statusChange, 256)
	for _, kind := range []string{"messages", "statuses"} {
		notices := make(chan notice)
		sub, err := n.rpc.Subscribe(n.ctx, "strata", notices, kind)
		n.must(n.name+": subscribe "+kind, err)
		n.Cleanup(sub.Unsubscribe)
		go func() {
			for {
				select {
				case m := <-notices:
					switch {
					case m.Message != nil:
						n.arrived <- *m.Message
					case m.Status != nil:
						n.moved <- *m.Status
					}
				case <-n.ctx.Done():
					return
				case <-sub.Err():
					return
				}
			}
		}()
	}
}

// strataPeer is a link as strata peers tells it.
type strataPeer struct {
	Connected bool   `json:"connected"`
	PacketsIn uint64 `json:"packets_in"`
}

// linked waits until the node has count live links.
func (n *strata) linked(count int) {
	n.Helper()
	n.eventually(fmt.Sprintf("%s to have %d links", n.name, count), func() (bool, error) {
		var peers []strataPeer
		err := n.rpc.CallContext(n.ctx, &peers, "strata_peers")
		live := 0
		for _, p := range peers {
			if p.Connected {
				live++
			}
		}
		return live == count, err
	})
}

// packetsIn returns how many packets all live links have brought.
func (n *strata) packetsIn() (sum uint64) {
	n.Helper()
	var peers []strataPeer
	n.cli(&peers, "peers")
	for _, p := range peers {
		sum += p.PacketsIn
	}
	return sum
}

// cli runs a sub-command against the node and reads its JSON into result.
func (n *strata) cli(result any, args ...string) {
	n.Helper()
	n.told(args, func(out []byte) error { return json.Unmarshal(out, result) })
}

func (n *strata) told(args []string, read func(out []byte) error) {
	n.Helper()
	cmd := exec.CommandContext(n.ctx, strataBin, append(args, "--json", "--data-dir", n.dir)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = read(out)
	}
	if err != nil {
		n.must(fmt.Sprintf("%s: strata %q", n.name, args), fmt.Errorf("%w\nstdout: %s\nstderr: %s", err, out, stderr.String()))
	}
}

// query asks a mail server for all it has of a topic, and returns the hashes in
// the order in which they came.
func (n *strata) query(server string, of topic) (hashes []string) {
	n.Helper()
	args := []string{"mail", "query", "--server", server, "--from", "1h", "--topic", hexutil.Encode(of[:])}
	n.told(args, func(out []byte) error {
		for lines := json.NewDecoder(bytes.NewReader(out)); lines.More(); {
			var e struct{ Hash string }
			if err := lines.Decode(&e); err != nil {
				return err
			}
			hashes = append(hashes, e.Hash)
		}
		return nil
	})
	return hashes
}

// join opens a public chat.
func (n *strata) join(channel string) {
	n.Helper()
	var ignored any
	n.cli(&ignored, "join", channel)
}

// say sends text to a public chat, and tell to a person. Both return how far the
// message had come.
func (n *strata) say(channel, text string, flags ...string) (c statusChange) {
	n.Helper()
	n.cli(&c, append([]string{"send", "--channel", channel, text}, flags...)...)
	return c
}

func (n *strata) tell(to hexutil.Bytes, text string, flags ...string) (c statusChange) {
	n.Helper()
	n.cli(&c, append([]string{"send", "--to", to.String(), text}, flags...)...)
	return c
}

// shown waits until the node has received a message with this text and returns
// it as its history shows it.
func (n *strata) shown(chat, text string) chatMessage {
	n.Helper()
	got := await(n.stage, fmt.Sprintf("%q at %s", text, n.name), n.arrived, func(m chatMessage) bool { return m.Text == text })
	for _, m := range n.history(chat) {
		if m.ID == got.ID {
			return m
		}
	}
	n.Fatalf("%s: the history of %s has no message %s, which was reported", n.name, chat, got.ID)
	return chatMessage{}
}

// history returns what the node has of a chat, newest first.
func (n *strata) history(chat string) []chatMessage {
	n.Helper()
	var page struct{ Messages []chatMessage }
	n.cli(&page, "history", chat)
	return page.Messages
}

// trace returns how many steps the node's layers took with an envelope, and traced
// waits for the first.
func (n *strata) trace(envelope hexutil.Bytes) int {
	n.Helper()
	var steps []struct{}
	n.must(n.name+": trace", n.rpc.CallContext(n.ctx, &steps, "strata_trace", envelope))
	return len(steps)
}

func (n *strata) traced(envelope hexutil.Bytes) {
	n.Helper()
	n.eventually(n.name+" to have "+envelope.String(), func() (bool, error) { return n.trace(envelope) > 0, nil })
}

// path names a file of the stage, folder makes one.
func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) folder(name string) string {
	s.Helper()
	s.must("folder", os.MkdirAll(s.path(name), 0o700))
	return s.path(name)
}
