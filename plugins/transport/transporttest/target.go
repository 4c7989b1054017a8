// Package transporttest is the conformance suite of transports: it says of a
// transport, in process or a plugin, which rules of the contract it keeps.
//
// Run is for go test, Check for a command. Rules lists what is checked. A pass
// means that the rule held on a loopback network in this run; it is no proof,
// but the suite is made so that a transport that breaks a rule is seen to, and
// that no transport within the contract fails.
package transporttest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Target is what is to be checked.
type Target struct {
	// New makes the transport of a node, not yet open: a value in process, or a
	// process that has been started. Nodes are 0, 1 and 2; New is called many
	// times for each, and the suite closes what it gets. If the value has the
	// methods of Process, the rules about processes are checked too.
	New func(node int) (transport.Transport, error)

	// Configs are the settings of each node, as JSON, so that they find each
	// other; $PORT0, $PORT1 and $PORT2 stand for free ports on 127.0.0.1 (for
	// UDP and TCP), the same in all of them. Two nodes are needed, and three
	// wanted. Nil means DefaultConfigs.
	Configs []string

	// Patience is how long a delivery may take, and how long nodes may take to
	// find each other. Zero means 10 s.
	Patience time.Duration

	// Only names the rules to check, by ID or by a pattern of package path such
	// as publish.*; nil means all. Each must be of some rule.
	Only []string
}

// DefaultConfigs returns settings with the names listen and peers, host:port
// each, for three nodes that know each other.
func DefaultConfigs() []string {
	return []string{
		`{"listen":"127.0.0.1:$PORT0","peers":["127.0.0.1:$PORT1","127.0.0.1:$PORT2"]}`,
		`{"listen":"127.0.0.1:$PORT1","peers":["127.0.0.1:$PORT0","127.0.0.1:$PORT2"]}`,
		`{"listen":"127.0.0.1:$PORT2","peers":["127.0.0.1:$PORT0","127.0.0.1:$PORT1"]}`,
	}
}

// Process is what a Target's transport has beside if it is a process.
// Kill, if there is one too, ends a process that did not end by itself.
type Process interface {
	PID() int
	Done() <-chan struct{} // closed when the process has ended
}

const (
	maxNodes        = 3
	defaultPatience = 10 * time.Second
)

// complete checks the target and fills in what is left out.
func (t Target) complete() (Target, error) {
	if t.New == nil {
		return t, fmt.Errorf("transporttest: Target.New: missing")
	}
	if t.Configs == nil {
		t.Configs = DefaultConfigs()
	}
	if len(t.Configs) < 2 || len(t.Configs) > maxNodes {
		return t, fmt.Errorf("transporttest: Target.Configs: %d, want 2 or %d", len(t.Configs), maxNodes)
	}
	if t.Patience == 0 {
		t.Patience = defaultPatience
	}
	return t, nil
}

// network is the settings of nodes that are to find each other.
type network struct{ configs []string }

// network chooses ports that are free now, so that no rule hears another.
func (b *bench) network() (network, error) {
	var pairs []string
	for i := range maxNodes {
		name := "$PORT" + strconv.Itoa(i)
		if !strings.Contains(strings.Join(b.target.Configs, ""), name) {
			continue
		}
		port, err := b.freePort()
		if err != nil {
			return network{}, err
		}
		pairs = append(pairs, name, strconv.Itoa(port))
	}
	var n network
	for _, template := range b.target.Configs {
		n.configs = append(n.configs, strings.NewReplacer(pairs...).Replace(template))
	}
	return n, nil
}

// freePort returns a port that is free for UDP and TCP on 127.0.0.1, and that
// it has not returned before.
func (b *bench) freePort() (int, error) {
	const attempts = 100
	for range attempts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("transporttest: no free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		c, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err != nil {
			continue
		}
		c.Close()
		if !b.ports[port] {
			b.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("transporttest: no free port after %d attempts", attempts)
}

// within calls f with a deadline and does not wait much longer for it, so that
// a method that hangs is named and does not hang the suite.
func within(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	const slack = 250 * time.Millisecond // for a loaded machine
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("%s panicked: %v", what, r)
			}
		}()
		done <- f(ctx)
	}()
	timer := time.NewTimer(limit + slack)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s did not return within %v", what, limit)
	}
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
