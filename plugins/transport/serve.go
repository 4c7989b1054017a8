package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

const (
	// orphanInterval is how often a plugin looks whether its parent lives.
	orphanInterval = 200 * time.Millisecond

	// stopGrace is how long the host may take to call Shutdown when the Pipe has
	// ended, before the process exits without.
	stopGrace = 200 * time.Millisecond
)

// Serve is the whole main of a plugin, and does not return: the process exits
// when the node is done with it or gone. It should be the first statement, since
// what is printed to stdout before it breaks the handshake. From then on stdout
// leads to the node's log, as stderr does, for code in C too.
//
// new makes the transport; it is called once, at Open.
func Serve(new func() Transport) {
	ServeVersions(new, Version1, Version2)
}

// ServeVersions is Serve for a plugin that speaks some versions only. It is for
// tests of a host.
func ServeVersions(new func() Transport, versions ...int) {
	os.Exit(serve(new, versions)) //nolint:forbidigo // Serve is the main of a plugin
}

// serve returns the exit code of the process.
func serve(new func() Transport, versions []int) int {
	if os.Getenv(Handshake.MagicCookieKey) != Handshake.MagicCookieValue {
		name := filepath.Base(os.Args[0])
		fmt.Fprintf(os.Stderr, "%s is a transport plugin of a Strata node, which starts it; to test it: strata plugin test %s\n", name, os.Args[0])
		return 1
	}
	stdout, err := takeStdout()
	if err != nil {
		fmt.Fprintln(os.Stderr, "transport: stdout:", err)
		return 1
	}
	signal.Ignore(os.Interrupt) // Ctrl-C in a terminal goes to the node too, which decides
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)

	s := newServer(new, 0) // go-plugin agrees on the version
	s.log = newLog(os.Stderr)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orphan := orphaned(ctx, os.Getppid, orphanInterval)
	stopped, socket, err := listen(s, versions, stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "transport:", err)
		return 1
	}

	select {
	case <-s.gone: // the Pipe has ended, or Close was called
	case <-stopped: // Shutdown was called
		s.close(CloseTimeout)
	case <-term:
		s.close(CloseTimeout)
	case <-orphan:
		s.close(lostGrace)
	}
	s.end(0)
	select { // the host shall hear how the Pipe ended
	case <-stopped:
	case <-time.After(stopGrace):
	}
	_ = os.Remove(socket)
	return s.code
}

// listen starts the server and prints the handshake line to stdout. The channel
// is closed when the host has called Shutdown; nothing else stops the server
// but the end of the process.
//
// go-plugin is in its test mode: otherwise it prints the line to os.Stdout,
// among whatever the author prints, and then replaces os.Stdout and os.Stderr by
// pipes to a host that throws away what comes through them.
func listen(s *server, versions []int, stdout io.WriteCloser) (stopped <-chan struct{}, socket string, err error) {
	tls, cert, err := oneTimeTLS(os.Getenv("PLUGIN_CLIENT_CERT"))
	if err != nil {
		return nil, "", fmt.Errorf("TLS: %w", err)
	}
	sets := make(map[int]plugin.PluginSet, len(versions))
	for _, v := range versions {
		sets[v] = plugin.PluginSet{Name: &glue{version: v, server: s}}
	}
	started := make(chan *plugin.ReattachConfig, 1)
	closed := make(chan struct{})
	go plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  Handshake,
		VersionedPlugins: sets,
		TLSProvider:      tls,
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, ServerOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
		Test:   &plugin.ServeTestConfig{ReattachConfigCh: started, CloseCh: closed},
	})
	select {
	case at := <-started:
		_, err := fmt.Fprintf(stdout, "%d|%d|%s|%s|%s|%s\n", plugin.CoreProtocolVersion, at.ProtocolVersion,
			at.Addr.Network(), at.Addr.String(), at.Protocol, cert)
		if err == nil {
			err = stdout.Close()
		}
		return closed, at.Addr.String(), err
	case <-closed:
		return nil, "", errors.New("no socket could be made")
	}
}

// orphaned returns a channel that is closed when the parent of the process has
// changed: then the node is gone, even if it was killed with no chance to say
// so. Where parents do not change, as on Windows, the end of the Pipe has to do.
func orphaned(ctx context.Context, parent func() int, interval time.Duration) <-chan struct{} {
	gone := make(chan struct{})
	first := parent()
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if parent() != first {
					close(gone)
					return
				}
			}
		}
	}()
	return gone
}
