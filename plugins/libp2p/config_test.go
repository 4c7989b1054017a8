package libp2p

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stratanode/strata/plugins/transport"
)

const secret = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

func TestBadSettingsAreNamed(t *testing.T) {
	for config, field := range map[string]string{
		`{"lisen": []}`:                           "lisen",
		`{"mesh": {"dlow": 3}}`:                   "mesh.dlow",
		`{"mesh": 3}`:                             "mesh",
		`{"shards": "8"}`:                         "shards",
		`{"shards": 0}`:                           "shards",
		`{"shards": 1000}`:                        "shards",
		`{"cover_shards": -1}`:                    "cover_shards",
		`{"listen": ["127.0.0.1:30303"]}`:         "listen[0]",
		`{"listen": ["/ip4/127.0.0.1/tcp/0/ws"]}`: "listen[0]",
		`{"listen": ["/ip4/127.0.0.1/udp/0/quic-v1/webtransport"]}`: "listen[0]",
		`{"peers": ["/ip4/127.0.0.1/tcp/1"]}`:                       "peers[0]",
		`{"nat": {"relay_client": ["x"]}}`:                          "nat.relay_client[0]",
		`{"nat": {"reachability": "perhaps"}}`:                      "nat.reachability",
		`{"key": "0x12"}`:                                           "key",
		`{"key": "` + strings.Repeat("00", 32) + `"}`:               "key",
		`{"key": "` + strings.Repeat("ff", 32) + `"}`:               "key",
		`{"key_file": ""}`:                                          "key_file",
		`{"key_file": "no/such/folder/key"}`:                        "key_file",
		`{"network": "a/b"}`:                                        "network",
		`{"queue": 1}`:                                              "queue",
		`{"queue_mib": 0}`:                                          "queue_mib",
		`{"recent_mib": 99999}`:                                     "recent_mib",
		`{"max_peers": 0}`:                                          "max_peers",
		`{"mesh": {"d_low": 9}}`:                                    "mesh.d_low",
		`{"mesh": {"d_out": 4}}`:                                    "mesh.d_out",
		`{"mesh": {"heartbeat": "1h"}}`:                             "mesh.heartbeat",
		`{"mesh": {"heartbeat": 5}}`:                                "mesh.heartbeat",
		`{"allow_subnets": ["10.0.0.1"]}`:                           "allow_subnets[0]",
		`{"waku": {"enabled": true, "ttl": "1s"}}`:                  "waku.ttl",
		`{"waku": {"enabled": true, "pubsub_topic": ""}}`:           "waku.pubsub_topic",
		`[]`: "config",
		`{`:  "config",
	} {
		n := New()
		_, err := n.Open(context.Background(), transport.Options{Config: []byte(config), Dir: t.TempDir()})
		e := transport.ErrorOf(err)
		if e == nil || e.Code != transport.CodeInvalid || e.Field != field || e.Reason == "" {
			t.Errorf("%s: got %v, want a fault of %s", config, err, field)
		}
		if err := n.Close(context.Background()); err != nil {
			t.Errorf("%s: Close: %v", config, err)
		}
	}
}

func TestEveryFaultIsTold(t *testing.T) {
	_, err := DecodeConfig([]byte(`{"shards": 0, "queue": 0, "colour": 1, "key": "` + secret[2:] + `"}`))
	e := transport.ErrorOf(err)
	if e == nil {
		t.Fatal("got no error")
	}
	for _, field := range []string{"key", "shards", "queue"} {
		if !strings.Contains(e.Reason, field) {
			t.Errorf("%q is not told in %q", field, e.Reason)
		}
	}
	if e.Field != "colour" {
		t.Errorf("field: got %q, want colour", e.Field)
	}
	if strings.Contains(err.Error(), secret[10:30]) {
		t.Errorf("the key is in the error: %v", err)
	}
}

func TestDefaultsAreGood(t *testing.T) {
	c, err := DecodeConfig([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.MDNS || c.Relay || c.Waku.Enabled || c.NAT.PortMap {
		t.Errorf("got %+v, want nothing that announces or serves by default", c)
	}
	if c, err := DecodeConfig(nil); err != nil || c.Shards != 8 {
		t.Errorf("no settings: got %d shards, %v", c.Shards, err)
	}
}

func TestIdentityPersists(t *testing.T) {
	dir := t.TempDir()
	first := startIn(t, dir, nil)
	first.stop(t)
	info, err := os.Stat(filepath.Join(dir, "node.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info, err)
	}
	again := startIn(t, dir, nil)
	other := start(t, nil)
	if first.ID() != again.ID() || first.ID() == other.ID() {
		t.Errorf("ids: %s, then %s; in another folder %s", first.ID(), again.ID(), other.ID())
	}
}

func TestKeySettingIsTheIdentity(t *testing.T) {
	dir := t.TempDir()
	a := startIn(t, dir, settings{"key": secret})
	a.stop(t)
	b := start(t, settings{"key": secret})
	if a.ID() != b.ID() {
		t.Errorf("ids: %s and %s, want the same", a.ID(), b.ID())
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("the folder has %v, %v; want nothing", list, err)
	}
}

func TestDamagedKeyFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.key"), []byte(secret[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	n := New()
	_, err := n.Open(context.Background(), transport.Options{Dir: dir})
	var e *transport.Error
	if !errors.As(err, &e) || e.Field != "key_file" || strings.Contains(e.Error(), secret[:20]) {
		t.Errorf("got %v, want a fault of key_file without its content", err)
	}
}

func TestPortInUseIsAFaultOfListen(t *testing.T) {
	a := start(t, nil)
	n := New()
	config := `{"listen": ["` + infos(a.Addrs())[0].Addrs[0].String() + `"]}`
	_, err := n.Open(context.Background(), transport.Options{Config: []byte(config), Dir: t.TempDir()})
	if e := transport.ErrorOf(err); e == nil || e.Field != "listen" || e.Code != transport.CodeInvalid {
		t.Errorf("got %v, want a fault of listen", err)
	}
	for i := range 2 {
		if err := n.Close(context.Background()); err != nil {
			t.Errorf("Close %d: %v", i, err)
		}
	}
}

func TestClosedTransportSaysSo(t *testing.T) {
	a := start(t, nil)
	a.stop(t)
	if err := a.try(envelope(1, topic, "x")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Publish: got %v, want ErrClosed", err)
	}
	if err := a.Subscribe(context.Background(), transport.Filter{}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Subscribe: got %v, want ErrClosed", err)
	}
	if _, err := a.Receive(context.Background()); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Receive: got %v, want ErrClosed", err)
	}
}
