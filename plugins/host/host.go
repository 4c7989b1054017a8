package host

import (
	"context"
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

	// lastShown is how many lines of a plugin's output an error of Start has.
	lastShown = 3
)

// Process is a running plugin. It is a transport.Transport, by way of its
// Remote; closing the transport does not end the process, Kill does.
type Process struct {
	*transport.Remote
	child  *child
	run    *runFolder
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
	p := &Process{child: newChild(c, prog, run.path), run: run, asked: make(chan struct{}), done: make(chan struct{})}
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
	p.NoTimeouts = p.child.command.Debug
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
	open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
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
	p.run.remove()
}
