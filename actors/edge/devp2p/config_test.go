package devp2p

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/goccy/go-yaml"
)

func TestDefaultConfigIsValidAndEveryFieldIsDescribed(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for f := range reflect.TypeFor[Config]().Fields() {
		if f.Tag.Get("yaml") == "" || f.Tag.Get("comment") == "" {
			t.Errorf("%s has no yaml or comment tag", f.Name)
		}
	}
}

func TestConfigIsReadFromYAML(t *testing.T) {
	c := DefaultConfig()
	text := "listen: 127.0.0.1:30304\nmax_peers: 7\nhandshake_timeout: 3s\ninbound: false\nnat: extip:192.0.2.1\n"
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:30304" || c.MaxPeers != 7 || c.HandshakeTimeout != 3*time.Second || c.Inbound || !c.Outbound || c.NAT != "extip:192.0.2.1" {
		t.Errorf("got %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultOfTheConfigIsReported(t *testing.T) {
	node := func(ip net.IP, tcp int) string {
		return enode.NewV4(&newKey(t).ECDSA().PublicKey, ip, tcp, tcp).URLv4()
	}
	good := node(net.IP{10, 0, 0, 1}, 30303)
	c := Config{
		Listen:           "example.org:30303",
		NAT:              "magic",
		Name:             "bell\a",
		MaxPeers:         -1,
		MaxPendingPeers:  0,
		StaticNodes:      []string{good, "enode://nobody", node(net.IP{10, 0, 0, 1}, 0), good, node(net.IP{127, 0, 0, 1}, 1), node(nil, 1)},
		TrustedNodes:     []string{"x", good, good},
		NetRestrict:      []string{"10.0.0.0/8", "10.0.0.0"},
		HandshakeTimeout: time.Millisecond,
		InFlightBytes:    1,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault was found")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"listen: ", "nat: ", "name: ", "max_peers: ", "max_pending_peers: ", "in_flight_bytes: ", "handshake_timeout: ",
		"inbound, outbound: ", "static_nodes: ", "net_restrict[1]: ",
		"static_nodes[1]: ", "static_nodes[2]: ", "static_nodes[3]: is the same node as static_nodes[0]", "static_nodes[4]: ", "static_nodes[5]: ",
		"trusted_nodes[0]: ", "trusted_nodes[2]: ",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(lines), len(want), err)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("fault %d is %q, want %q", i, lines[i], w)
		}
	}
}

func TestListenAndNATAreChecked(t *testing.T) {
	for _, tt := range []struct {
		set  func(*Config)
		good bool
	}{
		{func(c *Config) { c.Listen = ":30303" }, true},
		{func(c *Config) { c.Listen = "[::]:0" }, true},
		{func(c *Config) { c.Listen = "127.0.0.1" }, false},
		{func(c *Config) { c.Listen = "127.0.0.1:70000" }, false},
		{func(c *Config) { c.NAT = "" }, true},
		{func(c *Config) { c.NAT = "any" }, true},
		{func(c *Config) { c.NAT = "pmp:192.0.2.1" }, true},
		{func(c *Config) { c.NAT = "extip:" }, false},
		{func(c *Config) { c.NAT = "stun:stun.invalid:3478" }, true}, // not looked up
		{func(c *Config) { c.NAT = "stun:stun.invalid" }, false},
		{func(c *Config) { c.StaticNodes = []string{"enode://" + strings.Repeat("0", 128) + "@127.0.0.1:1"} }, false},
	} {
		c := DefaultConfig()
		tt.set(&c)
		if err := c.Validate(); (err == nil) != tt.good {
			t.Errorf("%q %q: %v", c.Listen, c.NAT, err)
		}
	}
}

func TestHostNameOfAStaticNodeIsKeptUnlessNetRestrictCouldNotCheckIt(t *testing.T) {
	c := DefaultConfig()
	url := enode.NewV4(&newKey(t).ECDSA().PublicKey, net.IP{127, 0, 0, 1}, 30303, 30303).URLv4()
	c.StaticNodes = []string{strings.Replace(url, "127.0.0.1", "node.invalid", 1)}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.NetRestrict = []string{"127.0.0.0/8"}
	if err := c.Validate(); err == nil {
		t.Error("go-ethereum would never dial it, and nobody would know")
	}
}

func TestInboundPlaces(t *testing.T) {
	for _, tt := range []struct {
		max               int
		inbound, outbound bool
		want              int
	}{
		{25, true, true, 17}, {3, true, true, 2}, {2, true, true, 1}, {1, true, true, 1}, {0, true, true, 0},
		{25, false, true, 0}, {25, true, false, 25},
	} {
		c := Config{MaxPeers: tt.max, Inbound: tt.inbound, Outbound: tt.outbound}
		if got := c.inboundPlaces(); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}

func TestNameOfAPeerCanDoNoHarm(t *testing.T) {
	if got, want := printable("Geth\x1b[2J\n\u202e/v1", 100), "Geth?[2J????/v1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := printable(strings.Repeat("x", 500), maxName); len(got) != maxName {
		t.Errorf("%d bytes", len(got))
	}
	if got := DefaultConfig().clientName(); !strings.HasPrefix(got, "Strata/") || strings.Count(got, "/") != 3 {
		t.Errorf("own name is %q", got)
	}
}

func TestUnspecifiedAddressIsReplacedByTheMostGlobalOne(t *testing.T) {
	for _, tt := range []struct{ listen, interfaces, want string }{
		{"192.0.2.7", "198.51.100.1", "192.0.2.7"},
		{"127.0.0.1", "198.51.100.1", "127.0.0.1"},
		{"0.0.0.0", "", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.1 169.254.1.1 fe80::1 2001:db8::1", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.1 10.1.2.3 2001:db8::1", "10.1.2.3"},
		{"0.0.0.0", "10.1.2.3 198.51.100.1", "198.51.100.1"},
		{"::", "10.1.2.3 2001:db8::1", "2001:db8::1"},
		{"::", "198.51.100.1 2001:db8::1", "198.51.100.1"},
	} {
		var all []netip.Addr
		for _, s := range strings.Fields(tt.interfaces) {
			all = append(all, netip.MustParseAddr(s))
		}
		if got := reachable(netip.MustParseAddr(tt.listen), all); got != netip.MustParseAddr(tt.want) {
			t.Errorf("listening on %s with %q: %v, want %s", tt.listen, tt.interfaces, got, tt.want)
		}
	}
}

func TestNodeSaysWhereItIs(t *testing.T) {
	a := start(t, func(c *Config) { c.Listen = "0.0.0.0:0" })
	url, record := a.Self()
	for _, text := range []string{url, record} {
		n, err := enode.Parse(enode.ValidSchemes, text)
		if err != nil {
			t.Fatal(err)
		}
		if n.ID() != enode.PubkeyToIDV4(&a.key.ECDSA().PublicKey) || !n.IPAddr().IsValid() || n.IPAddr().IsUnspecified() || n.TCP() == 0 {
			t.Errorf("%s is of no use", text)
		}
	}
	fixed := start(t, func(c *Config) { c.Listen = "0.0.0.0:0"; c.NAT = "extip:192.0.2.9" })
	if url, _ := fixed.Self(); !strings.Contains(url, "@192.0.2.9:") {
		t.Errorf("with extip: %s", url)
	}
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return // a machine without IPv6
	}
	six.Close()
	v6 := start(t, func(c *Config) { c.Listen = "[::1]:0" })
	if url, _ := v6.Self(); !strings.Contains(url, "@[::1]:") {
		t.Errorf("on IPv6: %s", url)
	}
}
