package transporttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func openAlone(ctx context.Context, b *bench) error {
	net, err := b.network()
	if err == nil {
		_, err = b.open(ctx, net, 0)
	}
	if err != nil {
		b.dead = fmt.Errorf("open.alone failed")
	}
	return err
}

func openInfo(_ context.Context, b *bench) error {
	i := b.info
	switch {
	case i.Name == "" || strings.Trim(i.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(i.Name) > transport.MaxText:
		return fmt.Errorf("Name is %q", i.Name)
	case i.Version == "" || len(i.Version) > transport.MaxText:
		return fmt.Errorf("Version is %q", i.Version)
	case i.Sender > transport.AnonymityGlobal || i.Receiver > transport.AnonymityGlobal:
		return fmt.Errorf("Sender is %d and Receiver %d, want at most %d", i.Sender, i.Receiver, transport.AnonymityGlobal)
	case i.Ordering > transport.OrderingSender:
		return fmt.Errorf("Ordering is %d, want at most %d", i.Ordering, transport.OrderingSender)
	case i.Storage > transport.StorageLong:
		return fmt.Errorf("Storage is %d, want at most %d", i.Storage, transport.StorageLong)
	}
	for k, p := range i.Privacy {
		if p == transport.PrivacyNone || p > transport.PrivacyCover || slices.Contains(i.Privacy[:k], p) {
			return fmt.Errorf("Privacy is %v, want different values of %d to %d", i.Privacy, transport.PrivacyStem, transport.PrivacyCover)
		}
	}
	return nil
}

func openLimits(_ context.Context, b *bench) error {
	i := b.info
	switch {
	case i.MaxData < 1 || i.MaxData > transport.MaxEnvelope:
		return fmt.Errorf("MaxData is %d, want 1 to %d", i.MaxData, transport.MaxEnvelope)
	case i.MaxTTL < 10*time.Second:
		return fmt.Errorf("MaxTTL is %v, want 10s or more", i.MaxTTL)
	case i.Latency < 0:
		return fmt.Errorf("Latency is %v", i.Latency)
	}
	return nil
}

func openAbilities(ctx context.Context, b *bench) error {
	a, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	has, says := transport.AbilitiesOf(a.t), a.info.Abilities
	if says.Query && !has.Query || says.Peers && !has.Peers || says.Stats && !has.Stats || says.Serve && !has.Serve {
		return fmt.Errorf("Info.Abilities is %+v, the methods are there for %+v", says, has)
	}
	if a.can.Peers {
		_, err = a.listPeers(ctx)
	}
	if a.can.Stats && err == nil {
		_, err = a.stats(ctx)
	}
	return err
}

// refuses opens a new transport with a config that has a fault in one setting
// and closes it.
func (b *bench) refuses(ctx context.Context, config, setting string) (*transport.Error, error) {
	t, err := b.make(0)
	if err != nil {
		return nil, err
	}
	n := &node{bench: b, t: t, changed: make(chan struct{})}
	b.own = append(b.own, n)
	o, err := b.options(0, config)
	if err != nil {
		return nil, err
	}
	err = within(ctx, openTimeout, "Open", func(ctx context.Context) error {
		_, err := t.Open(ctx, o)
		return err
	})
	if err == nil {
		return nil, fmt.Errorf("Open accepted %s, want an error about %q", config, setting)
	}
	var e *transport.Error
	if !errors.As(err, &e) || e.Code != transport.CodeInvalid {
		return e, fmt.Errorf("the error for %s is %q, want a *transport.Error with CodeInvalid", config, err)
	}
	if !strings.Contains(e.Field, setting) && !strings.Contains(e.Reason, setting) {
		return e, fmt.Errorf("the error for %s is %q, which does not name %q", config, err, setting)
	}
	return e, n.close(ctx)
}

// settings returns node 0's settings by name.
func (b *bench) settings() (map[string]any, error) {
	net, err := b.network()
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal([]byte(net.configs[0]), &all); err != nil {
		return nil, fmt.Errorf("the target's config is not a JSON object: %w", err)
	}
	return all, nil
}

const unknownSetting = "no_such_setting"

func (b *bench) unknown() (string, error) {
	all, err := b.settings()
	if err != nil {
		return "", err
	}
	all[unknownSetting] = 1
	config, err := json.Marshal(all)
	return string(config), err
}

func openUnknownSetting(ctx context.Context, b *bench) error {
	config, err := b.unknown()
	if err != nil {
		return err
	}
	_, err = b.refuses(ctx, config, unknownSetting)
	return err
}

func openBadSetting(ctx context.Context, b *bench) error {
	all, err := b.settings()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return skipped("the target has no settings")
	}
	for name, value := range all {
		var wrong any = map[string]any{"wrong": true}
		if _, ok := value.(map[string]any); ok {
			wrong = 7
		}
		all[name] = wrong
		config, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if _, err := b.refuses(ctx, string(config), name); err != nil {
			return err
		}
		all[name] = value
	}
	return nil
}

func openCloseAfterFailure(ctx context.Context, b *bench) error {
	t, err := b.make(0)
	if err != nil {
		return err
	}
	n := &node{bench: b, t: t, changed: make(chan struct{})}
	b.own = append(b.own, n)
	o, err := b.options(0, "not JSON")
	if err != nil {
		return err
	}
	err = within(ctx, openTimeout, "Open", func(ctx context.Context) error {
		_, err := t.Open(ctx, o)
		return err
	})
	if err == nil {
		return fmt.Errorf("Open accepted settings that are not JSON")
	}
	if err := n.close(ctx); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	return nil
}
