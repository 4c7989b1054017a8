package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/devp2p"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/datasync/mvds"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/payload/status"
	"github.com/stratanode/strata/layers/secure"
	"github.com/stratanode/strata/layers/secure/ratchet"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// The slots of a node, bottom to top. Their types say what passes between them,
// so a layer in the wrong place does not compile.
const (
	overlaySlot   = actors.Slot[overlay.Command, overlay.Event]("overlay")
	transportSlot = actors.Slot[transport.Command, transport.Event]("transport")
	envelopeSlot  = actors.Slot[envelope.Command, envelope.Event]("envelope")
	secureSlot    = actors.Slot[secure.Command, secure.Event]("secure")
	datasyncSlot  = actors.Slot[datasync.Command, datasync.Event]("datasync")
	payloadSlot   = actors.Slot[payload.Command, payload.Event]("payload")
)

// keys are the two secrets of a node: who its user is, and who it is to its
// peers.
type keys struct {
	identity layers.PrivateKey
	node     layers.PrivateKey
}

// fill puts the layers that the configuration names into s, from the bottom to
// the top, and reports every fault of every section. Nothing is started.
func fill(s *actors.Stack, cfg kernel.Config, k keys, log *slog.Logger) error {
	errs := []error{
		standOverlay(s, cfg, k, log),
		standTransport(s, cfg),
		standEnvelope(s, cfg, k),
		standSecure(s, cfg, k),
		standDataSync(s, cfg, k),
		standPayload(s, cfg, k),
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Layers)) {
		if !slices.Contains(slotNames, name) {
			errs = append(errs, fmt.Errorf("layers.%s: there is no such slot (have %s)", name, strings.Join(slotNames, ", ")))
		}
	}
	return errors.Join(errs...)
}

// slotNames lists the slots, bottom to top.
var slotNames = []string{"overlay", "transport", "envelope", "secure", "datasync", "payload"}

// resident returns the section of a slot, or false if nobody is to stand there.
// It is an error if the slot below is empty.
func resident[C, E any](
	s *actors.Stack, cfg kernel.Config, slot string, below actors.Slot[C, E],
) (kernel.Section, bool, error) {
	sec, ok := cfg.Layers[slot]
	if !ok {
		return sec, false, nil
	}
	if _, ok := cfg.Layers[string(below)]; !ok {
		return sec, false, fmt.Errorf("layers.%s: stands on layers.%s, which is not there", slot, below)
	}
	// A slot below whose own section is at fault is reported there.
	return sec, actors.Has(s, below), nil
}

// unknown reports a protocol that a slot does not have.
func unknown(slot string, sec kernel.Section, have ...string) error {
	return fmt.Errorf("layers.%s.use: unknown protocol %q (have %s)", slot, sec.Use, strings.Join(have, ", "))
}

func standOverlay(s *actors.Stack, cfg kernel.Config, k keys, log *slog.Logger) error {
	sec, ok := cfg.Layers["overlay"]
	if !ok {
		return nil
	}
	switch sec.Use {
	case "devp2p":
		c, err := kernel.Decode(sec, devp2p.DefaultConfig())
		if err != nil {
			return err
		}
		codec, err := codecOf(cfg)
		if err != nil {
			return nil // reported with the transport
		}
		actors.StandEdge(s, overlaySlot, func(out actors.Outlet[overlay.Event]) actors.Edge[overlay.Command] {
			return devp2p.New(c, k.node, codec, log, out)
		})
	default:
		return unknown("overlay", sec, "devp2p")
	}
	return nil
}

// codecOf returns the half of the transport that works in the read goroutines
// of the overlay's peers.
func codecOf(cfg kernel.Config) (overlay.Codec, error) {
	c, err := kernel.Decode(cfg.Layers["transport"], whisper.DefaultConfig())
	return whisper.NewCodec(c), err
}

func standTransport(s *actors.Stack, cfg kernel.Config) error {
	sec, ok, err := resident(s, cfg, "transport", overlaySlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "whisper":
		c, err := kernel.Decode(sec, whisper.DefaultConfig())
		if err != nil {
			return err
		}
		actors.Stand(s, transportSlot, overlaySlot, func(layers.Saved) *whisper.Node { return whisper.New(c) })
	default:
		return unknown("transport", sec, "whisper")
	}
	return nil
}

func standEnvelope(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(s, cfg, "envelope", transportSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "whisper":
		c, err := kernel.Decode(sec, sealing.DefaultConfig())
		if err != nil {
			return err
		}
		actors.Stand(s, envelopeSlot, transportSlot, func(layers.Saved) *sealing.Node {
			return sealing.New(c, k.identity, rand.Reader)
		})
	default:
		return unknown("envelope", sec, "whisper")
	}
	return nil
}

func standSecure(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(s, cfg, "secure", envelopeSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "ratchet":
		c, err := kernel.Decode(sec, ratchet.DefaultConfig())
		if err != nil {
			return err
		}
		actors.Stand(s, secureSlot, envelopeSlot, func(saved layers.Saved) *ratchet.Node {
			return ratchet.New(c, k.identity, rand.Reader, saved)
		})
	default:
		return unknown("secure", sec, "ratchet")
	}
	return nil
}

func standDataSync(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(s, cfg, "datasync", secureSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "mvds":
		c, err := kernel.Decode(sec, mvds.DefaultConfig())
		if err != nil {
			return err
		}
		actors.Stand(s, datasyncSlot, secureSlot, func(saved layers.Saved) *mvds.Node {
			return mvds.New(c, k.identity.Public(), rand.Reader, saved)
		})
	default:
		return unknown("datasync", sec, "mvds")
	}
	return nil
}

func standPayload(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(s, cfg, "payload", datasyncSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "status":
		c, err := kernel.Decode(sec, status.DefaultConfig())
		if err != nil {
			return err
		}
		actors.Stand(s, payloadSlot, datasyncSlot, func(saved layers.Saved) *status.Node {
			return status.New(c, k.identity, saved)
		})
	default:
		return unknown("payload", sec, "status")
	}
	return nil
}
