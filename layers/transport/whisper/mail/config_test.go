package mail

import (
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	url := newIdentity(t, 1).url
	for name, tt := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"url":         {func(c *Config) { c.Servers = []string{"mail.example.org"} }, `mail_servers: mail: enode URL "mail.example.org": does not begin with enode://`},
		"twice":       {func(c *Config) { c.Servers = []string{url, url + "?discport=0"} }, "mail_servers: " + url + "?discport=0 is there twice"},
		"many":        {func(c *Config) { c.Servers = make([]string, maxServers+1) }, "mail_servers: 65, more than 64"},
		"impatient":   {func(c *Config) { c.Timeout = time.Millisecond }, "mail_timeout: 1ms is not within 1s and 10m0s"},
		"patient":     {func(c *Config) { c.Timeout = time.Hour }, "mail_timeout: 1h0m0s is not within 1s and 10m0s"},
		"no asks":     {func(c *Config) { c.Asks = 0 }, "mail_requests: 0 is not within 1 and 4096"},
		"every fault": {func(c *Config) { c.Asks, c.Timeout = -1, 0 }, "mail_timeout: 0s is not within 1s and 10m0s\nmail_requests: -1 is not within 1 and 4096"},
	} {
		c := DefaultConfig()
		tt.spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

func TestEnodeURLs(t *testing.T) {
	id := newIdentity(t, 1)
	digits := id.url[len(enodeScheme) : len(enodeScheme)+keyDigits]
	for url, good := range map[string]bool{
		id.url: true,
		"enode://" + digits + "@10.0.0.1:30504?discport=30505":      true,
		"enode://" + digits + "@10.0.0.1:30504?discport=0":          true,
		"enode://" + digits + "@[2001:db8::1]:30504":                true,
		"enode://" + digits + "@node-01.do-ams3.example:443":        true,
		"enode://" + strings.ToUpper(digits) + "@h:1":               true,
		"enode://" + digits + "@10.0.0.1:30504?discport=":           false,
		"enode://" + digits + "@10.0.0.1:30504?discport=x":          false,
		"enode://" + digits + "@10.0.0.1":                           false,
		"enode://" + digits + "@10.0.0.1:0":                         false,
		"enode://" + digits + "@10.0.0.1:65536":                     false,
		"enode://" + digits + "@10.0.0.1:+1":                        false,
		"enode://" + digits + "@:30504":                             false,
		"enode://" + digits + "@[10.0.0.1]:30504":                   false,
		"enode://" + digits + "@[::1:30504":                         false,
		"enode://" + digits + "@a b:30504":                          false,
		"enode://" + digits + "@" + strings.Repeat("a", 254) + ":1": false,
		"enode://" + digits[1:] + "@h:1":                            false,
		"enode://" + digits[1:] + "g@h:1":                           false,
		"enode://" + strings.Repeat("00", 64) + "@h:1":              false,
		"enr:-" + digits: false,
		digits:           false,
	} {
		got, key, err := parseEnode(url)
		if (err == nil) != good {
			t.Errorf("%s: error %v", url, err)
		}
		if good && (got != id.id || key != id.key.Public()) {
			t.Errorf("%s: node %v, want %v", url, got, id.id)
		}
		if !good && (got != (overlay.PeerID{}) || key != (layers.PublicKey{})) {
			t.Errorf("%s: an error and a node", url)
		}
	}
}
