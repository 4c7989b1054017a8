package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-plugin"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/stratanode/strata/plugins/transport"
)

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
