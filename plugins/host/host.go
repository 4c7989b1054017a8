package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport"
)

const (
	maxMessage = transport.MaxEnvelope + 128<<10 // bytes of a gRPC message, both ways

	closeTime    = 2 * time.Second        // for the transport's Close
	shutdownTime = 500 * time.Millisecond // for the process to end afterwards
	giveUpTime   = 5 * time.Second        // for the kernel to remove a killed process

	// maxTemp is the length in bytes of the folder of temporary files above
	// which another is taken: the path of a unix socket has at most 108, and
	// go-plugin needs up to 56.
	maxTemp = 48

	// lastShown is how many lines of a plugin's output an error of Start has.
	lastShown = 3
)

// Process is a running plugin. It is a transport.Transport, by way of its
// Remote; closing the transport does not end the process, Kill does.
type Process struct {
	*transport.Remote
	child  *child
	client *plugin.Client
	health healthpb.HealthClient

	asked   chan struct{} // closed by Kill
	askOnce sync.Once
	done    chan struct{}
}

// Start runs the plugin and returns when it has answered a Ping. The error
// says what the plugin printed and how it ended; it wraps ErrChecksum where
// that was the reason. ctx is for the start only. The caller has to call Kill.
func Start(ctx context.Context, command Command) (*Process, error) {
	if err := command.Validate(); err != nil {
		return nil, err
	}
	c := command.withDefaults()
	if err := makePrivate(&c); err != nil {
		return nil, err
	}
	prog, err := openProgram(c)
	if err != nil {
		return nil, err
	}
	defer prog.close()
	run, err := makeRun()
	if err != nil {
		return nil, err
	}
	if !c.Debug {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.StartTimeout,
			fmt.Errorf("it was not ready within %v", c.StartTimeout))
		defer cancel()
	}
	p := &Process{child: newChild(c, prog, run), asked: make(chan struct{}), done: make(chan struct{})}
	if err := p.connect(ctx); err != nil {
		if p.child.process != nil {
			p.child.settle(err)
		}
		p.abandon()
		return nil, p.startError(err)
	}
	go p.attend()
	return p, nil
}

// makePrivate makes the plugin's folder.
func makePrivate(c *Command) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("host: dir: %w", err)
	}
	if err := os.Chmod(c.Dir, 0o700); err != nil {
		return fmt.Errorf("host: dir: %w", err)
	}
	c.Dir = resolved(c.Dir)
	return nil
}

// makeRun makes the folder of the socket, which only this user may enter.
func makeRun() (string, error) {
	temp := resolved(os.TempDir())
	if len(temp) > maxTemp {
		temp = "/tmp"
	}
	run, err := os.MkdirTemp(temp, "strata-")
	if err != nil {
		return "", fmt.Errorf("host: %w", err)
	}
	return run, nil
}

// connect starts the process and shakes hands. When ctx ends, the process does.
func (p *Process) connect(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		p.child.end(context.Cause(ctx))
		p.child.kill()
	})
	defer stop()
	out := &splitter{line: p.child.print.line}
	errs := &splitter{line: p.child.print.line}
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  transport.Handshake,
		VersionedPlugins: transport.HostPlugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			return startable{attached{p.child, cmd.Env}, ctx}, nil
		},
		AutoMTLS:         !p.child.command.Debug,
		SkipHostEnv:      true,
		StartTimeout:     24 * time.Hour, // ctx is what counts
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.child.run},
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       out,
		SyncStderr:       errs,
		GRPCDialOptions:  dialOptions(),
	})
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense(transport.Name)
	if err != nil {
		return err
	}
	p.Remote = raw.(*transport.Remote)
	p.health = healthpb.NewHealthClient(protocol.(*plugin.GRPCClient).Conn)
	if err := p.Ping(ctx); err != nil {
		return err
	}
	return p.child.cause()
}

// startable binds the start to a context, because go-plugin has its own.
type startable struct {
	attached
	ctx context.Context
}

// Start implements runner.Runner.
func (s startable) Start(context.Context) error { return s.attached.Start(s.ctx) }

func dialOptions() []grpc.DialOption {
	return append(transport.DialOptions(),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithStreamInterceptor(refuseBroker),
	)
}

// refuseBroker keeps go-plugin from opening its broker's stream: every message
// of the plugin there would cost the host a goroutine for 5 s.
func refuseBroker(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if strings.HasPrefix(method, "/plugin.GRPCBroker/") {
		return nil, status.Error(codes.Unimplemented, "host: there is no broker")
	}
	return open(ctx, desc, conn, method, opts...)
}

// startError describes a failed start. What the child found is nearer to the
// cause than what go-plugin says.
func (p *Process) startError(err error) error {
	if cause := p.child.cause(); cause != nil {
		err = cause
	}
	text := ""
	lines := p.LastLog()
	for i, line := range lines[max(0, len(lines)-lastShown):] {
		text += [...]string{"; it said: ", " / "}[min(i, 1)] + transport.Clean(line, maxValue)
	}
	if p.child.confine != "" {
		text += "; confinement: " + p.child.confine
	}
	return fmt.Errorf("host: start %s: %w%s", p.child.command.Name, err, text)
}

// abandon ends a plugin that did not start.
func (p *Process) abandon() {
	p.child.kill()
	p.tidy()
	if p.child.process != nil {
		if await(p.child.gone, giveUpTime) {
			<-p.child.drained
		}
	}
}

// attend waits for the end of the plugin, or brings it about.
func (p *Process) attend() {
	defer close(p.done)
	select {
	case <-p.child.ended:
	case <-p.Remote.Broken():
		p.judge(p.Remote.Err())
	case <-p.asked:
		p.closeGently()
	}
	p.child.kill()
	p.tidy()
	if !await(p.child.gone, giveUpTime) {
		p.child.end(errors.New("it did not end though killed"))
		return
	}
	<-p.child.drained
}

// judge decides what follows from a Remote that works no more.
func (p *Process) judge(err error) {
	switch {
	case errors.Is(err, transport.ErrClosed):
		// Somebody has closed the transport, at which the process ends.
		p.child.end(nil)
		await(p.child.gone, shutdownTime)
	case errors.Is(err, transport.ErrUnavailable):
		// The process is ending, most likely, and will have said why.
		await(p.child.ended, drainTime)
	}
	p.child.end(err)
}

// closeGently lets the transport close and the process end. The deadlines are
// ours, since go-plugin's Kill would wait for an answer for ever.
func (p *Process) closeGently() {
	p.child.end(nil)
	p.child.owned().usage() // its children, before it leaves them behind
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// It may be closed already, and nothing else would follow from an error.
	_ = p.Remote.Close(ctx)
	go p.client.Kill() // asks it to shut down
	await(p.child.gone, shutdownTime)
}

// tidy ends go-plugin's part and removes the folder of the socket.
func (p *Process) tidy() {
	if p.child.process != nil {
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			p.client.Kill()
		}()
		await(finished, giveUpTime)
	}
	p.child.line.Close()
	os.RemoveAll(p.child.run)
}

// PID returns the number of the process, as the host sees it.
func (p *Process) PID() int { return p.child.process.Pid }

// Done is closed when the process is gone, or was given up, for whatever cause.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended: how it exited, which limit or rule it broke.
// It is nil while it runs, and if Kill ended it.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if cause := p.child.cause(); cause != nil {
		return fmt.Errorf("host: %s: %w", p.child.command.Name, cause)
	}
	return nil
}

// Ping asks the plugin whether it is well. ctx should have a deadline.
func (p *Process) Ping(ctx context.Context) error {
	reply, err := p.health.Check(ctx, &healthpb.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fmt.Errorf("host: ping %s: %s", p.child.command.Name, transport.Clean(err.Error(), transport.MaxText))
	}
	if reply.Status != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("host: ping %s: its health is %s", p.child.command.Name, transport.Clean(reply.Status.String(), maxKey))
	}
	return nil
}

// Kill closes the transport, ends the process, if need be by force after 2 s,
// and all its descendants, and removes its socket. It returns when that is
// done. It may be called several times and at the same time.
func (p *Process) Kill() {
	p.askOnce.Do(func() { close(p.asked) })
	<-p.done
}

// Confinement says what confines the plugin, as "landlock 7, namespaces,
// seccomp", or "none: " with the reason.
func (p *Process) Confinement() string { return p.child.confine }

// LastLog returns the last 200 lines of the plugin's output and, if it crashed,
// the first 1000 of what it then printed, clean and at most 1 KiB each. It may
// be called after the end too.
func (p *Process) LastLog() []string { return p.child.print.last() }

// await waits for done, no longer than d, and tells whether it is.
func await(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

var _ transport.Transport = (*Process)(nil)
