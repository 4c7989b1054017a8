package plugin

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
)

// Process returns an Opener that runs a plugin as a process, as c says. args are
// the program and its arguments: c.Command, or the node's own program for a
// transport that is compiled in. What the process prints goes to log.
func Process(name string, c Config, args []string, log *slog.Logger) Opener {
	command := host.Command{
		Name: name, Args: args, SHA256: c.SHA256, Pins: c.Pins,
		Dir: c.Dir, Env: c.Env,
		Confine: confinement(c.Confine), AllowRead: c.AllowRead, Hide: c.Hide,
		Memory: int64(c.MemoryMiB) * mebibyte, Processes: c.Processes,
		StartTimeout: c.StartTimeout,
		Log:          log,
	}
	return func(ctx context.Context) (Running, error) {
		p, err := host.Start(ctx, command)
		if err != nil {
			return nil, err
		}
		return process{p}, nil
	}
}

// Attach returns an Opener for a plugin that somebody else has started, in a
// debugger for example. address is c.Attach. Nothing confines it, and no call but
// Open has a deadline.
func Attach(address string) Opener {
	return func(ctx context.Context) (Running, error) {
		a, err := host.Attach(ctx, address)
		if err != nil {
			return nil, err
		}
		return attached{a}, nil
	}
}

// attached is a host.Attached as a Running.
type attached struct{ *host.Attached }

// Patient implements patient.
func (attached) Patient() bool { return true }

// process is a host.Process as a Running.
type process struct{ *host.Process }

var (
	_ Running   = process{}
	_ pipelined = process{}

	_ transport.Querier = process{}
	_ transport.Server  = process{}
	_ transport.Querier = attached{}
	_ transport.Server  = attached{}

	_ breakable = process{}
	_ Running   = attached{}
	_ breakable = attached{}
	_ patient   = attached{}
)

// PublishCalls implements pipelined: one batch is on its way while the next is
// gathered.
func (process) PublishCalls() int { return 2 }

func confinement(word string) host.Confine {
	switch word {
	case ConfineBest:
		return host.Best
	case ConfineRequired:
		return host.Required
	case ConfineOff:
		return host.Off
	}
	panic(fmt.Sprintf("plugin: confinement %q", word)) // Validate knows all
}
