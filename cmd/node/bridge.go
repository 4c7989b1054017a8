package main

import (
	"log/slog"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/transport"
)

// standFar fills the slot of the other transport of a bridge. It needs no
// overlay: whatever stands there comes by way of the plugin contract.
func standFar(s *actors.Stack, cfg kernel.Config, r *residents, log *slog.Logger) error {
	sec, ok := cfg.Layers["far"]
	switch {
	case !ok:
		return nil
	case !isPlugin(sec.Use):
		return unknown(sec, carriers()[1:]...)
	}
	if _, ok := cfg.Layers["bridge"]; !ok {
		return sec.SlotFault("", "is of use only to layers.bridge, which is not there")
	}
	p, err := pluginOf(sec, cfg.DataDir, "far", log)
	if err != nil {
		return err
	}
	r.set("far", sec.Use, p)
	actors.StandEdge(s, bridge.FarSlot, func(out actors.Outlet[bridge.Far]) actors.Edge[transport.Command] {
		return p.Edge(bridge.FarUp(out))
	})
	return nil
}

// standBridge puts the bridge on its two transports.
func standBridge(s *actors.Stack, cfg kernel.Config, r *residents, log *slog.Logger) error {
	sec, ok := cfg.Layers["bridge"]
	if !ok {
		return nil
	}
	if sec.Use != "relay" {
		return unknown(sec, "relay")
	}
	for _, below := range []string{"transport", "far"} {
		if _, ok := cfg.Layers[below]; !ok {
			return sec.SlotFault("", "stands on layers."+below+", which is not there")
		}
	}
	if _, ok := cfg.Layers["envelope"]; ok {
		return sec.SlotFault("", "cannot stand beside layers.envelope: a bridge is nobody's client")
	}
	c, err := kernel.Decode(sec, bridge.DefaultConfig())
	if err != nil {
		return err
	}
	if actors.Has(s, transportSlot) && actors.Has(s, bridge.FarSlot) { // else they have faults of their own
		r.bridge = bridge.Stand(s, transportSlot, bridge.FarSlot, c, log)
	}
	return nil
}
