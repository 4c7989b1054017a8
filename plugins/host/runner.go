package host

import (
	"context"
	"errors"
	"io"
	"strconv"
)

// attached is a child as go-plugin sees it.
type attached struct {
	*child
	wire []string // variables that go-plugin sets
}

// Start implements runner.Runner.
func (a attached) Start(ctx context.Context) error { return a.start(ctx, a.wire) }

// Wait implements runner.AttachedRunner.
func (a attached) Wait(context.Context) error {
	<-a.gone
	return nil
}

// Kill implements runner.AttachedRunner. It leaves that to Start and Kill of
// this package, which first find out what was wrong.
func (a attached) Kill(context.Context) error { return nil }

// ID implements runner.AttachedRunner.
func (a attached) ID() string {
	if a.process == nil {
		return ""
	}
	return strconv.Itoa(a.process.Pid)
}

// Name implements runner.Runner.
func (a attached) Name() string { return a.command.Name }

// Stdout implements runner.Runner. It has the handshake line and no more.
func (a attached) Stdout() io.ReadCloser { return a.line }

// Stderr implements runner.Runner. The child reads it itself.
func (a attached) Stderr() io.ReadCloser { return io.NopCloser(empty{}) }

// Diagnose implements runner.Runner. Start says what was wrong.
func (a attached) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.AddrTranslator.
func (a attached) PluginToHost(network, address string) (string, string, error) {
	return network, address, a.checkSocket(network, address)
}

// HostToPlugin implements runner.AddrTranslator. Only go-plugin's broker would
// ask, and it is not used.
func (a attached) HostToPlugin(string, string) (string, string, error) {
	return "", "", errors.New("host: there is no broker")
}

type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
