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
func fill(s *actors.Stack, cfg kernel.Config, k keys, r *residents, log *slog.Logger) error {
	errs := []error{
		standOverlay(s, cfg, k, log),
		standTransport(s, cfg, k, r, log),
		standFar(s, cfg, r, log),
		standBridge(s, cfg, r, log),
		standArchive(s, cfg, r, log),
		standEnvelope(s, cfg, k),
		standSecure(s, cfg, k),
		standDataSync(s, cfg, k),
		standPayload(s, cfg, k),
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Layers)) {
		if !slices.Contains(slotNames, name) {
			errs = append(errs, cfg.Layers[name].SlotFault("", "there is no such slot; have "+strings.Join(slotNames, ", ")))
		}
	}
	return errors.Join(errs...)
}

// slotNames lists the slots, bottom to top. Far and bridge are those of a node
// that carries envelopes between two transports, archive that of a mail server.
var slotNames = []string{"overlay", "transport", "far", "bridge", "archive", "envelope", "secure", "datasync", "payload"}

// resident returns the section of a slot, or false if nobody is to stand there.
// It is an error if nobody is to stand below.
func resident[C, E any](cfg kernel.Config, slot string, below actors.Slot[C, E]) (kernel.Section, bool, error) {
	sec, ok := cfg.Layers[slot]
	if !ok {
		return sec, false, nil
	}
	if _, ok := cfg.Layers[string(below)]; !ok {
		return sec, false, sec.SlotFault("", fmt.Sprintf("stands on layers.%s, which is not there", below))
	}
	return sec, true, nil
}

// stand puts a layer into its slot. A slot below that is empty in spite of its
// section has a fault, which is reported with it.
func stand[C, E, BC, BE any, P layers.Protocol[C, E, BC, BE]](
	s *actors.Stack, slot actors.Slot[C, E], below actors.Slot[BC, BE], build func(layers.Saved) P,
) {
	if actors.Has(s, below) {
		actors.Stand(s, slot, below, build)
	}
}

// unknown reports a protocol that a slot does not have.
func unknown(sec kernel.Section, have ...string) error {
	return sec.SlotFault("use", fmt.Sprintf("unknown protocol %q; have %s", sec.Use, strings.Join(have, ", ")))
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
			return nil // the transport reports it
		}
		actors.StandEdge(s, overlaySlot, func(out actors.Outlet[overlay.Event]) actors.Edge[overlay.Command] {
			return devp2p.New(c, k.node, codec, log, out)
		})
	default:
		return unknown(sec, "devp2p")
	}
	return nil
}

func standEnvelope(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(cfg, "envelope", transportSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "whisper":
		c, err := kernel.Decode(sec, sealing.DefaultConfig())
		if err != nil {
			return err
		}
		stand(s, envelopeSlot, transportSlot, func(saved layers.Saved) *sealing.Node {
			return sealing.Restore(c, k.identity, rand.Reader, saved)
		})
	default:
		return unknown(sec, "whisper")
	}
	return nil
}

func standSecure(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(cfg, "secure", envelopeSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "ratchet":
		c, err := kernel.Decode(sec, ratchet.DefaultConfig())
		if err != nil {
			return err
		}
		stand(s, secureSlot, envelopeSlot, func(saved layers.Saved) *ratchet.Node {
			return ratchet.New(c, k.identity, rand.Reader, saved)
		})
	default:
		return unknown(sec, "ratchet")
	}
	return nil
}

func standDataSync(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(cfg, "datasync", secureSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "mvds":
		c, err := kernel.Decode(sec, mvds.DefaultConfig())
		if err != nil {
			return err
		}
		stand(s, datasyncSlot, secureSlot, func(saved layers.Saved) *mvds.Node {
			return mvds.New(c, k.identity.Public(), rand.Reader, saved)
		})
	default:
		return unknown(sec, "mvds")
	}
	return nil
}

func standPayload(s *actors.Stack, cfg kernel.Config, k keys) error {
	sec, ok, err := resident(cfg, "payload", datasyncSlot)
	if !ok {
		return err
	}
	switch sec.Use {
	case "status":
		c, err := kernel.Decode(sec, status.DefaultConfig())
		if err != nil {
			return err
		}
		stand(s, payloadSlot, datasyncSlot, func(saved layers.Saved) *status.Node {
			return status.New(c, k.identity, saved)
		})
	default:
		return unknown(sec, "status")
	}
	return nil
}
