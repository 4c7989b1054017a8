package main

import (
	"encoding/json"
	"sync"

	"github.com/stratanode/strata/actors/edge/archive"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
)

// residents knows who fills the slots, for those who ask. It is safe for
// concurrent use.
type residents struct {
	mu      sync.Mutex
	use     map[string]string
	plugins map[string]*plugin.Resident
	bridge  *bridge.Bridge   // nil: there is none; set before the start
	archive *archive.Archive // likewise
}

func newResidents(cfg kernel.Config) *residents {
	r := &residents{use: map[string]string{"rpc": "json-rpc", "shh": "json-rpc"}, plugins: map[string]*plugin.Resident{}}
	for slot, sec := range cfg.Layers {
		r.use[slot] = sec.Use
	}
	return r
}

// set notes who fills a slot now; p is nil if it is no plugin.
func (r *residents) set(slot, use string, p *plugin.Resident) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use[slot] = use
	delete(r.plugins, slot)
	if p != nil {
		r.plugins[slot] = p
	}
}

// plugin returns the plugin in a slot, nil if there is none.
func (r *residents) plugin(slot string) *plugin.Resident {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plugins[slot]
}

// describe implements rpc.Node.Residents.
func (r *residents) describe() map[string]rpc.Resident {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]rpc.Resident{}
	for slot, use := range r.use {
		all[slot] = rpc.Resident{Use: use}
	}
	for slot, p := range r.plugins {
		d := p.Describe()
		all[slot] = rpc.Resident{Use: r.use[slot], Peers: d.Peers, About: asMap(d)}
	}
	if r.archive != nil {
		all["archive"] = rpc.Resident{Use: r.use["archive"], About: asMap(r.archive.Describe())}
	}
	if r.bridge != nil {
		all["bridge"] = rpc.Resident{Use: r.use["bridge"], About: asMap(r.bridge.Describe())}
	}
	return all
}

// asMap returns v as the object that it is in JSON.
func asMap(v any) (m map[string]any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return m
}
