package devp2p

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/nat"
	"github.com/ethereum/go-ethereum/p2p/netutil"
)

// Config is the section of the overlay slot in the layer configuration file.
//
// Links are counted in three classes. A link to one of static_nodes, or to a
// trusted node, is always allowed and takes no place. All other links, whether
// a node dials us or was added at run time (by discovery, by an operator), share
// max_peers places; if the node both dials and listens, a third of them, at
// least one of two, is kept for nodes that we dial, so that strangers cannot
// take them all. So three static nodes with max_peers 3 are all dialled, and
// three places remain for others. go-ethereum's own limit, in which static nodes
// count, is derived from this and cannot be set.
type Config struct {
	Listen               string        `yaml:"listen" comment:"IP address and TCP port to listen on; port 0 lets the system choose"`
	Inbound              bool          `yaml:"inbound" comment:"whether other nodes may dial this one; if false no port is opened"`
	Outbound             bool          `yaml:"outbound" comment:"whether this node dials others"`
	NAT                  string        `yaml:"nat" comment:"how to be reached from outside: none, any, upnp, pmp, pmp:IP, extip:IP, stun or stun:SERVER:PORT"`
	Name                 string        `yaml:"name" comment:"client name told to peers; empty means Strata, its version and platform"`
	MaxPeers             int           `yaml:"max_peers" comment:"links besides those to static and trusted nodes; a third is kept for nodes we dial"`
	MaxPendingPeers      int           `yaml:"max_pending_peers" comment:"connections in their handshake, counted separately for each direction"`
	StaticNodes          []string      `yaml:"static_nodes" comment:"nodes to keep a link to, as enode URLs or enr: texts; they take no place of max_peers"`
	TrustedNodes         []string      `yaml:"trusted_nodes" comment:"nodes that may connect beyond max_peers, as enode URLs or enr: texts; they are not dialled for it"`
	NetRestrict          []string      `yaml:"net_restrict" comment:"networks in CIDR form that links are restricted to; empty means all"`
	HandshakeTimeout     time.Duration `yaml:"handshake_timeout" comment:"time for the greetings of both sides on a new link"`
	PeerBytesPerSecond   int           `yaml:"peer_bytes_per_second" comment:"bytes of packets that one peer may send, uncompressed; it is read more slowly beyond it; 0 means no limit"`
	PeerBurstBytes       int           `yaml:"peer_burst_bytes" comment:"bytes that a peer may send at once after a pause"`
	PeerPacketsPerSecond int           `yaml:"peer_packets_per_second" comment:"packets that one peer may send, likewise; 0 means no limit"`
	PeerBurstPackets     int           `yaml:"peer_burst_packets" comment:"packets that a peer may send at once after a pause"`
	InFlightBytes        int           `yaml:"in_flight_bytes" comment:"bytes of packets read but not yet worked off by the layers; reading stops beyond it"`
}

// Bounds of the configuration.
const (
	maxPeers         = 10_000          // beyond it the sockets of one process are the problem
	maxPending       = 1_000           // each holds a socket and a goroutine for up to 5 s
	minHandshake     = time.Second     // a greeting over a bad mobile link takes that long
	maxHandshake     = 2 * time.Minute // beyond it strangers keep places for nothing
	minInFlightBytes = 64 << 10        // some packets of usual length
	maxInFlightBytes = 1 << 32         // beyond it the bound would bound nothing

	// At the least rate a packet of 1 MiB is read within 8 s; a peer gives its
	// write up after 20 s.
	minBytesPerSecond   = 128 << 10
	maxBytesPerSecond   = 1 << 30   // beyond it the limit would limit nothing
	minBurstBytes       = 64 << 10  // some packets of usual length
	minPacketsPerSecond = 10        // a peer of 2019 sends some three in a second
	maxPacketsPerSecond = 1_000_000 // more than a core can read

	maxName = 128 // bytes; it travels in the hello, which may have 2048
)

// DefaultConfig returns the configuration of an empty section. NAT is none: a
// client works without being reachable, and should neither multicast into the
// network it is a guest of nor ask strangers for its address unless it is told
// to; an operator of a relay knows its address.
func DefaultConfig() Config {
	return Config{
		Listen:           "0.0.0.0:30303",
		Inbound:          true,
		Outbound:         true,
		NAT:              "none",
		MaxPeers:         25,
		MaxPendingPeers:  50,
		HandshakeTimeout: 5 * time.Second,
		// An honest peer sends 4000 envelopes of 1 KB in a second when it is very
		// busy, and puts many into one packet. The limits are far beyond it; they
		// are for a peer that wants to keep a core busy.
		PeerBytesPerSecond:   32 << 20,
		PeerBurstBytes:       64 << 20,
		PeerPacketsPerSecond: 10_000,
		PeerBurstPackets:     20_000,
		InFlightBytes:        16 << 20,
	}
}

// Validate reports every fault of c, not only the first. It asks nobody: a host
// name of a static node is not looked up.
func (c Config) Validate() error {
	_, err := c.parse()
	return err
}

// parsed is what a valid configuration means.
type parsed struct {
	Config
	static, trusted []*enode.Node
	restrict        *netutil.Netlist
}

func (c Config) parse() (parsed, error) {
	p := parsed{Config: c}
	errs := []error{
		checkListen(c.Listen),
		checkNAT(c.NAT),
		checkName(c.Name),
		within("max_peers", c.MaxPeers, 0, maxPeers),
		within("max_pending_peers", c.MaxPendingPeers, 1, maxPending),
		within("in_flight_bytes", c.InFlightBytes, minInFlightBytes, maxInFlightBytes),
	}
	errs = append(errs, c.checkRates()...)
	if c.HandshakeTimeout < minHandshake || c.HandshakeTimeout > maxHandshake {
		errs = append(errs, fmt.Errorf("handshake_timeout: %v is not in %v to %v", c.HandshakeTimeout, minHandshake, maxHandshake))
	}
	if !c.Inbound && !c.Outbound {
		errs = append(errs, errors.New("inbound, outbound: both are false, no link could ever be made"))
	}
	if !c.Outbound && len(c.StaticNodes) > 0 {
		errs = append(errs, errors.New("static_nodes: outbound is false, they would not be dialled"))
	}
	for i, text := range c.NetRestrict {
		if _, err := netip.ParsePrefix(text); err != nil {
			errs = append(errs, fmt.Errorf("net_restrict[%d]: %w", i, err))
			continue
		}
		if p.restrict == nil {
			p.restrict = new(netutil.Netlist)
		}
		p.restrict.Add(text)
	}
	var faults []error
	p.static, faults = parseNodes("static_nodes", c.StaticNodes, func(n *enode.Node) error { return checkDialled(n, p.restrict) })
	errs = append(errs, faults...)
	p.trusted, faults = parseNodes("trusted_nodes", c.TrustedNodes, func(*enode.Node) error { return nil })
	return p, errors.Join(append(errs, faults...)...)
}

func parseNodes(field string, texts []string, check func(*enode.Node) error) (nodes []*enode.Node, faults []error) {
	first := map[enode.ID]int{}
	for i, text := range texts {
		n, err := parseNode(text)
		if err == nil {
			err = check(n)
		}
		if err == nil {
			if j, twice := first[n.ID()]; twice {
				err = fmt.Errorf("is the same node as %s[%d]", field, j)
			} else {
				first[n.ID()] = i
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s[%d]: %w", field, i, err))
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, faults
}

// maxNodeText bounds what is parsed: a record has at most 300 bytes, 400 in its
// text form, and an enode URL 150 and a host name.
const maxNodeText = 1024

// parseNode reads an enode URL or the text form of a node record.
func parseNode(text string) (*enode.Node, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxNodeText {
		return nil, fmt.Errorf("node: %d characters, at most %d", len(text), maxNodeText)
	}
	if !strings.HasPrefix(text, "enode:") && !strings.HasPrefix(text, "enr:") {
		return nil, errors.New("node: is neither an enode URL nor an enr: text")
	}
	n, err := enode.Parse(enode.ValidSchemes, text)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if n.Pubkey() == nil {
		return nil, errors.New("node: has no secp256k1 public key")
	}
	return n, nil
}

// checkDialled says whether a node can be dialled at all.
func checkDialled(n *enode.Node, restrict *netutil.Netlist) error {
	ip := n.IPAddr()
	switch {
	case n.TCP() == 0:
		return errors.New("node: has no TCP port")
	case n.Hostname() != "" && restrict != nil:
		return errors.New("node: a host name cannot be checked against net_restrict, write the IP address")
	case n.Hostname() != "":
		return nil // its address is known only when it is dialled
	case !ip.IsValid() || ip.IsUnspecified():
		return errors.New("node: has no IP address")
	case restrict != nil && !restrict.ContainsAddr(ip):
		return fmt.Errorf("node: %v is not in net_restrict", ip)
	}
	return nil
}

func checkListen(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return fmt.Errorf("listen: %q is no IP address", host)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listen: %q is no port", port)
	}
	return nil
}

// checkNAT leaves stun to Open, because reading it looks its server up.
func checkNAT(spec string) error {
	if server, found := strings.CutPrefix(spec, "stun:"); found {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return fmt.Errorf("nat: %w", err)
		}
		return nil
	}
	if _, err := nat.Parse(spec); err != nil {
		return fmt.Errorf("nat: %w", err)
	}
	return nil
}

func checkName(name string) error {
	if len(name) > maxName || name != printable(name, maxName) {
		return fmt.Errorf("name: must be at most %d printable ASCII characters", maxName)
	}
	return nil
}

func within(name string, value, low, high int) error {
	if value < low || value > high {
		return fmt.Errorf("%s: %d is not in %d to %d", name, value, low, high)
	}
	return nil
}

func (c Config) checkRates() (faults []error) {
	if c.PeerBytesPerSecond != 0 {
		faults = append(faults,
			within("peer_bytes_per_second", c.PeerBytesPerSecond, minBytesPerSecond, maxBytesPerSecond),
			within("peer_burst_bytes", c.PeerBurstBytes, minBurstBytes, maxBytesPerSecond))
	}
	if c.PeerPacketsPerSecond != 0 {
		faults = append(faults,
			within("peer_packets_per_second", c.PeerPacketsPerSecond, minPacketsPerSecond, maxPacketsPerSecond),
			within("peer_burst_packets", c.PeerBurstPackets, 1, maxPacketsPerSecond))
	}
	return faults
}

// inboundPlaces is how many of max_peers nodes that dial us may take.
func (c Config) inboundPlaces() int {
	switch {
	case !c.Inbound:
		return 0
	case !c.Outbound || c.MaxPeers < 2:
		return c.MaxPeers
	}
	return c.MaxPeers - max(c.MaxPeers/3, 1)
}

// clientName is what the node calls itself in the hello: Strata/vX/os-arch/go.
func (c Config) clientName() string {
	if c.Name != "" {
		return c.Name
	}
	version := "devel"
	if b, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(b.Main.Version, "v") {
		version = b.Main.Version
	}
	return printable(fmt.Sprintf("Strata/%s/%s-%s/%s", version, runtime.GOOS, runtime.GOARCH, runtime.Version()), maxName)
}

// printable returns at most n bytes of s with everything but printable ASCII
// replaced, so that the name a peer claims can do no harm in a terminal or a log.
func printable(s string, n int) string {
	b := []byte(s[:min(len(s), n)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
