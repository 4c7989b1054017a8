package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// demoTransports are the transport plugins that the demo can use.
var demoTransports = []string{"libp2p", "udp"}

// checkFlags looks whether what was asked for goes together.
func (d *demo) checkFlags(messagesGiven bool) error {
	if d.transport != "whisper" && !slices.Contains(demoTransports, d.transport) {
		return fmt.Errorf("--transport: %q is none of whisper, %s", d.transport, strings.Join(demoTransports, ", "))
	}
	if d.swap && d.transport != "whisper" {
		return errors.New("--swap: begins with Whisper; leave --transport out")
	}
	if d.offline && (d.swap || d.transport != "whisper") {
		return errors.New("--offline: goes with neither --swap nor --transport")
	}
	if d.swap && !messagesGiven {
		d.messages = demoSwapMessages
	}
	return nil
}

// choosePorts gives every node a port, for the transport that does not tell its
// own.
func (d *demo) choosePorts() error {
	for _, n := range []*demoNode{d.relay, d.alice, d.bob} {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer c.Close() // when all have one, so that they differ
		n.address = c.LocalAddr().String()
	}
	return nil
}

// relayTransport returns the layers that carry for the relay.
func (d *demo) relayTransport() string {
	switch {
	case d.offline:
		return d.mailServer()
	case d.transport == "libp2p":
		return demoLibp2p("relay: true")
	case d.transport == "udp":
		return fmt.Sprintf(demoUDP, d.relay.address, fmt.Sprintf("%q, %q", d.alice.address, d.bob.address))
	}
	return `  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything}}
`
}

// clientTransport returns the layers that carry for a client of the relay, which
// is running.
func (d *demo) clientTransport(ctx context.Context, n *demoNode) (string, error) {
	switch {
	case d.offline:
		return d.mailClient(), nil
	case d.transport == "libp2p":
		return d.libp2pClient(ctx)
	case d.transport == "udp":
		return fmt.Sprintf(demoUDP, n.address, fmt.Sprintf("%q", d.relay.address)), nil
	}
	return fmt.Sprintf(`  overlay: {use: devp2p, settings: {inbound: false, static_nodes: ["%s"]}}
  transport: {use: whisper, settings: {interest: subscribed}}
`, d.relay.self.Enode), nil
}

// libp2pClient returns libp2p with the relay, which has it already, as its peer.
func (d *demo) libp2pClient(ctx context.Context) (string, error) {
	address, err := d.relay.carrierAddress(ctx)
	return demoLibp2p(fmt.Sprintf("peers: [%q]", address)), err
}

func demoLibp2p(more string) string {
	return fmt.Sprintf(`  transport:
    use: libp2p
    settings: {process: true, config: {listen: ["/ip4/127.0.0.1/tcp/0"], %s}}
`, more)
}

const demoUDP = `  transport:
    use: udp
    settings: {process: true, config: {listen: %q, peers: [%s]}}
`

// carrierAddress asks a node for an address that its transport plugin listens
// on.
func (n *demoNode) carrierAddress(ctx context.Context) (string, error) {
	st, err := n.client.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, l := range st.Layers {
		all, _ := l.About["addresses"].([]any)
		if l.Name == string(transportSlot) && len(all) > 0 {
			return fmt.Sprint(all[0]), nil
		}
	}
	return "", fmt.Errorf("the transport of %s tells no address", n.name)
}

// Of the demo with replacements.
const (
	demoSwapMessages = 160
	demoPace         = 50 * time.Millisecond // from one message to the next
	demoMaxGap       = 3 * time.Second
)
