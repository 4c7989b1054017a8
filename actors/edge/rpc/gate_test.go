package rpc

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// startTCP starts a node with HTTP and WebSocket on one address and returns the
// address and the token.
func startTCP(t *testing.T) (*fixture, string, string) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.HTTP, cfg.WebSocket = "127.0.0.1:0", "127.0.0.1:0"
	f := start(t, clientRole, cfg)
	token, err := openToken(cfg.tokenPath(f.dir))
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Address("http"), token
}

func TestRequestsHaveToPassTheGate(t *testing.T) {
	f, address, token := startTCP(t)
	const ok = `{"jsonrpc":"2.0","id":1,"method":"strata_version"}`
	type header map[string]string
	for _, tt := range []struct {
		name   string
		method string
		host   string
		header header
		body   string
		code   int
	}{
		{"with the token", "POST", address, header{"Authorization": "Bearer " + token}, ok, 200},
		{"localhost", "POST", "localhost:1", header{"Authorization": "Bearer " + token}, ok, 200},
		{"IPv6", "POST", "[::1]:1", header{"Authorization": "Bearer " + token}, ok, 200},
		{"own page", "POST", address, header{"Authorization": "Bearer " + token, "Origin": "http://" + address}, ok, 200},
		{"no token", "POST", address, nil, ok, 401},
		{"wrong token", "POST", address, header{"Authorization": "Bearer " + strings.Repeat("0", 64)}, ok, 401},
		{"longer token", "POST", address, header{"Authorization": "Bearer " + token + "0"}, ok, 401},
		{"empty token", "POST", address, header{"Authorization": "Bearer "}, ok, 401},
		{"other scheme", "POST", address, header{"Authorization": "Basic " + token}, ok, 401},
		{"token in the URL", "POST", address, header{"Referer": "http://x/?token=" + token}, ok, 401},
		{"rebound name", "POST", "evil.example:80", header{"Authorization": "Bearer " + token}, ok, 403},
		{"name that begins like us", "POST", "localhost.evil.example", header{"Authorization": "Bearer " + token}, ok, 403},
		{"other page", "POST", address, header{"Authorization": "Bearer " + token, "Origin": "http://evil.example"}, ok, 403},
		{"page of another port", "POST", address, header{"Authorization": "Bearer " + token, "Origin": "http://127.0.0.1:1"}, ok, 403},
		{"sandboxed page", "POST", address, header{"Authorization": "Bearer " + token, "Origin": "null"}, ok, 403},
		{"preflight", "OPTIONS", address, header{"Origin": "http://evil.example"}, "", 403},
		{"GET", "GET", address, header{"Authorization": "Bearer " + token}, "", 405},
		{"no JSON", "POST", address, header{"Authorization": "Bearer " + token, "Content-Type": "text/plain"}, ok, 415},
		{"too long", "POST", address, header{"Authorization": "Bearer " + token}, strings.Repeat(" ", MaxBody+1), 413},
	} {
		q, err := http.NewRequest(tt.method, "http://"+address, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		q.Host = tt.host
		q.Header.Set("Content-Type", "application/json")
		for name, value := range tt.header {
			q.Header.Set(name, value)
		}
		q.Header.Set("Expect", "100-continue") // so that what is refused unread is not written
		a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: patience}}).Do(q)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		body, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != tt.code {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.StatusCode, body, tt.code)
		}
		if got := strings.Contains(string(body), `"version":"v1"`); got != (tt.code == 200) {
			t.Errorf("%s: answer %s", tt.name, body)
		}
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: got a CORS header %s", tt.name, name)
			}
		}
		if strings.Contains(string(body), token) {
			t.Errorf("%s: the answer has the token in it", tt.name)
		}
	}
	if st, err := f.dial(t).Status(t.Context()); err != nil || st.API.TurnedAway != 13 {
		t.Errorf("%d turned away, %v, want 13", st.API.TurnedAway, err)
	}
}

func TestWebSocketNeedsTheToken(t *testing.T) {
	f, address, token := startTCP(t)
	if _, err := DialURL(t.Context(), "ws://"+address, "wrong"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("wrong token: got %v, want 401", err)
	}
	c, err := DialURL(t.Context(), "ws://"+address, token)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := c.Messages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Say(t.Context(), "test", "hello"); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Next(t.Context()); err != nil || n.Message == nil || n.Message.Text != "echo hello" {
		t.Errorf("got %+v, %v", n, err)
	}
	f.stop()
	if _, err := in.Next(t.Context()); err == nil {
		t.Error("the subscription goes on after the node has stopped")
	}
}

func TestHTTPHasNoSubscriptions(t *testing.T) {
	_, address, token := startTCP(t)
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	c, err := DialURL(t.Context(), "http://"+address, token)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := c.Version(t.Context()); err != nil || v.Version != "v1" {
		t.Errorf("Version: got %+v, %v", v, err)
	}
	if _, err := c.Messages(t.Context()); err == nil {
		t.Error("subscribed over HTTP")
	}
}

func TestOneWayDoesNotOpenTheOther(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HTTP = "127.0.0.1:0"
	f := start(t, clientRole, cfg)
	token, err := openToken(cfg.tokenPath(f.dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DialURL(t.Context(), "ws://"+f.Address("http"), token); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("WebSocket where only HTTP is served: got %v, want 404", err)
	}
}

func TestTokenIsMadeOnceForTheUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "token")
	first, err := openToken(path)
	if err != nil || len(first) != 64 {
		t.Fatalf("got %d characters, %v, want 64", len(first), err)
	}
	if second, err := openToken(path); err != nil || second != first {
		t.Errorf("read again: same %v, %v", second == first, err)
	}
	i, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", i.Mode(), err)
	}
}

func TestBadTokenFileIsRefusedWithoutQuotingIt(t *testing.T) {
	good := strings.Repeat("secret42", 8)
	for _, tt := range []struct {
		name, token string
		mode        os.FileMode
		want        string
	}{
		{"others can read", good, 0o644, "chmod 600"},
		{"group can write", good, 0o620, "chmod 600"},
		{"short", "secret42", 0o600, "32 to 4096"},
		{"empty", "\n", 0o600, "32 to 4096"},
		{"long", strings.Repeat("secret42", 1000), 0o600, "32 to 4096"},
	} {
		if runtime.GOOS == "windows" && tt.mode != 0o600 {
			continue
		}
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(tt.token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := openToken(path); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret42") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
