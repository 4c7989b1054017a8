package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// phaseOut is how long a replaced transport is heard: as long as an envelope
// that was sent to it lives by default, and a little for the way.
const phaseOut = 20 * time.Second

// phase is how a transport is phased out. What it receives goes up; the answers
// to what was published by it do not, because it is published again. It learns
// of new topics, which may be those of a message that is on its way to it.
func phase() actors.Phase[transport.Command, transport.Event] {
	return actors.Phase[transport.Command, transport.Event]{
		Out: phaseOut,
		Keep: func(e transport.Event) bool {
			_, received := e.(transport.Received)
			return received
		},
		Heed: func(c transport.Command) bool {
			_, topics := c.(transport.Subscribe)
			return topics
		},
		Back: transport.Attach{},
	}
}

// incumbent is what a section of the transport slot has become.
type incumbent struct {
	candidate actors.Candidate
	plugin    *plugin.Resident // nil: it is none
	subject   subject          // of a plugin
	files     []stamp
	left      time.Time // when it was replaced
}

// stamp tells one content of a file from the next.
type stamp struct {
	path    string
	size    int64
	changed time.Time
}

// swaps remembers the plugins that are being phased out. One that is asked for
// again by the same settings comes back as it is: it has the ports, the folder
// and the peers that a second one would want, and all that it has yet to deliver.
type swaps struct {
	mu   sync.Mutex // held during a replacement
	now  *incumbent // nil: as at the start
	past []*incumbent
}

// replace exchanges the resident of a slot of the running node.
func (n *node) replace(ctx context.Context, slot, file string, text []byte) error {
	cfg, err := kernel.LoadText(file, text, topSections)
	if err != nil {
		return err
	}
	if slot != string(transportSlot) {
		return fmt.Errorf("the slot that can be replaced is %s", transportSlot)
	}
	sec, ok := cfg.Layers[slot]
	if !ok {
		return fmt.Errorf("%s has no section layers.%s", file, slot)
	}
	n.swaps.mu.Lock()
	defer n.swaps.mu.Unlock()
	if err := n.rememberStart(); err != nil {
		return err
	}
	c, err := n.incumbent(sec)
	if err != nil {
		return err
	}
	if err := n.stack.Replace(ctx, c.candidate); err != nil {
		return err
	}
	n.swaps.seat(c)
	n.residents.set(slot, sec.Use, c.plugin)
	n.log.Info("layer replaced", "layer", slot, "use", sec.Use)
	return nil
}

// rememberStart notes what the node was started with.
func (n *node) rememberStart() error {
	if n.swaps.now != nil || !actors.Has(n.stack, transportSlot) {
		return nil
	}
	c := incumbent{candidate: actors.InPlace(n.stack, transportSlot, phase())}
	if sec := n.config.Layers[string(transportSlot)]; isPlugin(sec.Use) {
		var err error
		if c.subject, err = readPlugin(sec); err != nil {
			return err
		}
		c.plugin, c.files = n.residents.plugin(string(transportSlot)), stampsOf(c.subject)
	}
	n.swaps.now = &c
	return nil
}

// seat notes who fills the slot now.
func (s *swaps) seat(c *incumbent) {
	if s.now != nil {
		s.now.left = time.Now()
		s.past = append(s.past, s.now)
	}
	s.now = c
	s.past = slices.DeleteFunc(s.past, func(o *incumbent) bool {
		return o == c || o.plugin == nil || time.Since(o.left) > phaseOut
	})
}

// find returns the plugin with these settings and files that is being phased out,
// or nil.
func (s *swaps) find(settings subject, files []stamp) *incumbent {
	i := slices.IndexFunc(s.past, func(o *incumbent) bool {
		return time.Since(o.left) < phaseOut && reflect.DeepEqual(o.subject, settings) && slices.Equal(o.files, files)
	})
	if i < 0 {
		return nil
	}
	return s.past[i]
}

// stampsOf returns the stamps of the files that a plugin is started from: one
// that was built anew is another plugin.
func stampsOf(s subject) (all []stamp) {
	for _, path := range s.args {
		if info, err := os.Stat(path); err == nil {
			all = append(all, stamp{path, info.Size(), info.ModTime()})
		}
	}
	return all
}

// incumbent returns what a section of the transport slot describes.
func (n *node) incumbent(sec kernel.Section) (*incumbent, error) {
	switch {
	case isPlugin(sec.Use):
		return n.pluginIncumbent(sec)
	case sec.Use != "whisper":
		return nil, unknown(sec, carriers()...)
	}
	c, err := kernel.Decode(sec, whisper.DefaultConfig())
	if err != nil {
		return nil, err
	}
	if before, err := whisperConfig(n.config); err != nil || before.MaxMessageSize != c.MaxMessageSize {
		return nil, errors.Join(err, sec.Fault("max_message_size_bytes",
			fmt.Sprintf("is %d while the links of this node were made for %d; that takes a restart", c.MaxMessageSize, before.MaxMessageSize)))
	}
	_, archived := n.config.Layers["archive"]
	tools := whisperTools(c, n.keys, archived)
	return &incumbent{candidate: actors.LayerFor(n.stack, transportSlot, overlaySlot,
		func(layers.Saved) *whisper.Node { return whisper.NewWith(c, tools) }, phase())}, nil
}

// pluginIncumbent returns the plugin that a section describes: one that is being
// phased out, or a new one.
func (n *node) pluginIncumbent(sec kernel.Section) (*incumbent, error) {
	settings, err := readPlugin(sec)
	if err != nil {
		return nil, err
	}
	files := stampsOf(settings)
	if c := n.swaps.find(settings, files); c != nil {
		return c, nil
	}
	p, err := pluginOf(sec, n.config.DataDir, string(transportSlot), n.log)
	if err != nil {
		return nil, err
	}
	return &incumbent{
		candidate: actors.EdgeFor(n.stack, transportSlot,
			func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] { return p.Edge(out) }, phase()),
		plugin: p, subject: settings, files: files,
	}, nil
}
