// Package udp floods envelopes over UDP between the nodes of a LAN. It is the
// transport to copy: all of it is in this file. A node sends what is new to it
// to all its peers, and again, at growing intervals, to those that have not
// said that they have it, until its TTL is over. README.md has the wire format.
package udp

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	maxData   = 60_000                 // bytes of Data: a datagram carries 65,507 at most
	maxTTL    = 10 * time.Minute       // so that memory is not filled for longer
	maxHeld   = 1 << 15                // envelopes held; what comes from outside may fill half
	maxBytes  = 64 << 20               // and their bytes
	maxFuture = 20 * time.Second       // Sent after now, as the contract has it
	tick      = 50 * time.Millisecond  // between looks at what is due
	firstWait = 200 * time.Millisecond // before an envelope is sent again, then doubled
	lastWait  = 4 * time.Second        // where the doubling ends
	buffer    = 4 << 20                // bytes of the socket's buffers; the system may give less
	header    = 1 + 4 + 8 + 4          // bytes before Data: kind, topic, sent, TTL
	kindData  = 1                      // a datagram with an envelope
	kindHave  = 2                      // a datagram with the key of an envelope that has arrived
)

type key [sha256.Size]byte // of a datagram

type held struct {
	transport.Envelope
	packet  []byte           // as it is sent; Data is its end
	told    bool             // the host has it
	missing []netip.AddrPort // peers that have not said they have it
	again   time.Time        // when they are sent it next
	wait    time.Duration    // until the time after that
}

// UDP is the transport; New makes one.
type UDP struct {
	now     func() time.Time
	conn    *net.UDPConn
	peers   []netip.AddrPort
	count   chan int // of peers, to be reported once: nobody knows who is there
	inbox   chan transport.Envelope
	done    chan struct{} // closed by Close
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	held   map[key]*held
	bytes  int // of held packets
	topics map[transport.Topic]bool
	all    bool
}

// New returns a transport that is not open yet.
func New() transport.Transport {
	return &UDP{count: make(chan int, 1), inbox: make(chan transport.Envelope, 4096),
		done: make(chan struct{}), held: map[key]*held{}}
}

// Open implements transport.Transport.
func (u *UDP) Open(_ context.Context, o transport.Options) (transport.Info, error) {
	if err := u.configure(o.Config); err != nil {
		return transport.Info{}, err
	}
	u.now = o.Now
	u.count <- len(u.peers)
	u.running.Go(u.listen)
	u.running.Go(u.repeat)
	return transport.Info{Name: "udp", Version: "1.0.0", MaxData: maxData, MaxTTL: maxTTL, Latency: time.Second,
		Receiver: transport.AnonymityNetwork, Storage: transport.StorageTTL}, nil
}

func (u *UDP) configure(config []byte) error {
	var listen *net.UDPAddr
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(config, &settings); err != nil {
		return transport.Invalid("config", "%v", err)
	}
	for name, value := range settings {
		var text string
		var texts []string
		var err error
		switch name {
		case "listen":
			if err = json.Unmarshal(value, &text); err == nil {
				listen, err = net.ResolveUDPAddr("udp", text)
			}
		case "peers":
