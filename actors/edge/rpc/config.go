package rpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"
)

// Bounds of what a client may send and hold.
const (
	// MaxBody is the longest request, in bytes, over any of the three ways in: a
	// batch of long texts fits, a flood does not.
	MaxBody = 5 << 20

	maxBatch         = 100      // calls in one batch; they are worked off one after the other
	maxBatchResponse = 25 << 20 // bytes; about ten full pages of history
	maxSubscribers   = 256      // subscriptions of all clients together
	maxHeader        = 16 << 10 // bytes of an HTTP header; ours has one long line, the token
)

// Against clients that are slow on purpose.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = 10 * time.Second
	workTimeout   = time.Minute           // a call of the shh API may look for a proof of work meanwhile
	acceptPause   = 50 * time.Millisecond // after a failed accept
)

// Config is the section api of the layer configuration file.
type Config struct {
	// CallTimeout is how long a call waits for its layer.
	CallTimeout time.Duration `yaml:"call_timeout" comment:"how long a call waits for its layer"`

	// MaxCalls bounds the calls that wait at the same time; what is beyond is
	// answered with busy.
	MaxCalls int `yaml:"max_calls" comment:"calls that may wait at the same time"`

	// MaxConnections bounds the connections, for each listener.
	MaxConnections int `yaml:"max_connections" comment:"connections per listener"`

	// SubscriberBuffer is how many notices may wait for a subscriber before it is
	// cut off.
	SubscriberBuffer int `yaml:"subscriber_buffer" comment:"notices that may wait for a subscriber before it is cut off"`

	// HTTP and WebSocket are the loopback addresses to serve on beside the
	// socket in the data folder; empty means not at all. They may be the same.
	HTTP      string `yaml:"http" comment:"loopback address to serve HTTP on, such as 127.0.0.1:8545; empty: not at all"`
	WebSocket string `yaml:"websocket" comment:"the same for WebSocket; may be the same address"`

	// OpenHTTP and OpenWebSocket are loopback addresses on which the shh API is
	// served without a token, for clients written for go-ethereum. Any program on
	// this machine can then use it, and the keys it holds.
	OpenHTTP      string `yaml:"open_http" comment:"loopback address to serve the shh API on over HTTP without a token, for clients written for geth: any program on this machine can use it; empty: not at all"`
	OpenWebSocket string `yaml:"open_websocket" comment:"the same for WebSocket; may be the same address"`

	// TokenFile holds the token that HTTP and WebSocket ask for. A relative path
	// begins at the data folder. The file is made if it is missing.
	TokenFile string `yaml:"token_file" comment:"the token HTTP and WebSocket ask for; made if missing"`
}

// DefaultConfig returns the configuration of an empty section: the socket in the
// data folder and nothing else.
func DefaultConfig() Config {
	return Config{
		CallTimeout:      10 * time.Second,
		MaxCalls:         64,
		MaxConnections:   64,
		SubscriberBuffer: 1000,
		TokenFile:        "rpc.token",
	}
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var errs []error
	if c.CallTimeout < 10*time.Millisecond || c.CallTimeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("call_timeout: %v is not between 10ms and 10m", c.CallTimeout))
	}
	within := func(name string, n, most int) {
		if n < 1 || n > most {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and %d", name, n, most))
		}
	}
	within("max_calls", c.MaxCalls, 10_000)
	within("max_connections", c.MaxConnections, 10_000)
	within("subscriber_buffer", c.SubscriberBuffer, 1_000_000)
	errs = append(errs, validAddress("http", c.HTTP), validAddress("websocket", c.WebSocket),
		validAddress("open_http", c.OpenHTTP), validAddress("open_websocket", c.OpenWebSocket))
	for _, open := range []string{c.OpenHTTP, c.OpenWebSocket} {
		if _, port, _ := net.SplitHostPort(open); open != "" && port != "0" && (open == c.HTTP || open == c.WebSocket) {
			errs = append(errs, fmt.Errorf("open_http, open_websocket: %s is served with a token already", open))
		}
	}
	if (c.HTTP != "" || c.WebSocket != "") && c.TokenFile == "" {
		errs = append(errs, errors.New("token_file: missing, and http and websocket are not served without one"))
	}
	return errors.Join(errs...)
}

// validAddress refuses what is not on this machine: the API can read every
// message and speak as the user.
func validAddress(name, address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !isLoopback(host) {
		return fmt.Errorf("%s: %s is not a loopback address (have 127.0.0.1, [::1] and localhost); "+
			"reach the node from elsewhere through a tunnel", name, address)
	}
	return nil
}

// isLoopback reports whether host, a name or an address without port, is this
// machine as it calls itself.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// tokenPath is where the token is kept.
func (c Config) tokenPath(dir string) string {
	if filepath.IsAbs(c.TokenFile) {
		return c.TokenFile
	}
	return filepath.Join(dir, c.TokenFile)
}
