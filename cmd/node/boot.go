package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/actors/edge/shh"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
)

// node is one running node.
type node struct {
	config kernel.Config
	keys   keys
	fresh  bool // the chat key was drawn at this start
	store  *store.Store
	kernel *kernel.Kernel
	stack  *actors.Stack
	server *rpc.Server

	residents *residents
	swaps     swaps
	log       *slog.Logger
}

// bootOptions say what is different this time.
type bootOptions struct {
	acceptRollback bool // see store.Options

	// For tests:
	wrap func(actors.Store) actors.Store // puts faults into the store
	over func(*actors.Stack)             // puts more on the stack
}

// boot opens the store and starts the stack that cfg describes. It returns when
// every layer is open.
func boot(cfg kernel.Config, key store.Key, log *slog.Logger, o bootOptions) (_ *node, err error) {
	n := &node{config: cfg}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	open := store.Options{Key: key, ScryptN: cfg.Store.ScryptN, AcceptRollback: o.acceptRollback}
	if n.store, err = store.Open(cfg.DataDir, open); err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // scrypt took some 128 MiB, and will not be called again
	if n.keys, n.fresh, err = loadKeys(n.store, hasUser(cfg)); err != nil {
		return nil, err
	}
	records := actors.Durable(n.store)
	if o.wrap != nil {
		records = o.wrap(records)
	}
	if err := n.assemble(records, log); err != nil {
		return nil, err
	}
	if o.over != nil {
		o.over(n.stack)
	}
	n.kernel.OnChange(func(s kernel.Status) {
		if s.State == kernel.Running && s.Restarts > 0 {
			log.Info("layer is back", "layer", s.Name, "restarts", s.Restarts)
		}
	})
	if err := n.stack.Start(); err != nil {
		return nil, err
	}
	return n, nil
}

// assemble fills the stack and puts the API on top, and starts nothing.
func (n *node) assemble(records actors.Store, log *slog.Logger) error {
	trace, err := kernel.Decode(n.config.Sections[traceSection], defaultTraceConfig())
	api, apiErr := apiConfig(n.config)
	_, processErr := kernel.Decode(n.config.Sections[processSection], processConfig{})
	whisperAPI, shhErr := kernel.Decode(n.config.Sections[shhSection], shh.DefaultConfig())
	k := kernel.New(log)
	tracer := actors.NewTracer(trace.Steps)
	s := actors.NewStack(k, records, tracer, log)
	n.log, n.residents = log, newResidents(n.config)
	if err := errors.Join(err, apiErr, processErr, shhErr, fill(s, n.config, n.keys, n.residents, log)); err != nil {
		return misused(err)
	}
	n.kernel, n.stack = k, s
	shhAPI := shh.New(whisperAPI, log)
	if actors.Has(s, transportSlot) {
		shhAPI.Stand(s, transportSlot)
	}
	n.server = rpc.New(api, n.config.DataDir, rpc.Node{
		Version:     version(),
		Layers:      k.Status,
		Loads:       s.Loads,
		Quarantined: s.Quarantined,
		Trace:       tracer.Find,
		Residents:   n.residents.describe,
		Replace:     n.replace,
		Archive:     n.residents.apiArchive(),
		Services:    map[string]any{"shh": shhAPI.Service()},
	})
	n.server.Stand(s, rpc.Slots{Payload: payloadSlot, Envelope: envelopeSlot, Transport: transportSlot, Overlay: overlaySlot})
	return nil
}

// hasUser reports whether the node speaks for somebody: a relay has no chat key.
func hasUser(cfg kernel.Config) bool {
	_, ok := cfg.Layers["envelope"]
	return ok
}

// close stops what runs and closes the store. It may be called at any stage.
func (n *node) close() {
	if n.kernel != nil {
		n.kernel.Stop()
	}
	if n.store != nil {
		n.store.Close()
	}
}

// check reports the faults of a configuration without starting anything.
func check(cfg kernel.Config) error {
	identity, err := layers.GenerateKey(zeroOne{})
	if err != nil {
		return err
	}
	n := &node{config: cfg, keys: keys{identity: identity, node: identity}}
	return n.assemble(nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// zeroOne is the reader of a key that is used for nothing.
type zeroOne struct{}

func (zeroOne) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 1
	}
	return len(b), nil
}

// newLogger returns the log of the configuration, written to w.
func newLogger(c kernel.LogConfig, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}
