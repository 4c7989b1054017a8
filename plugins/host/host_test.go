//go:build unix

package host_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
)

// soon is how long a test waits for what should happen at once.
const soon = 20 * time.Second

// journal collects log lines.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// command returns one for the plugin that play knows under mode. Its sockets are
// in a folder of their own, which is to be empty in the end.
func command(t *testing.T, mode string) (host.Command, *journal) {
	t.Helper()
	temp, err := os.MkdirTemp("/tmp", "ht-")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	t.Cleanup(func() {
		left, _ := filepath.Glob(temp + "/*")
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		os.RemoveAll(temp)
	})
	return commandHere(t, mode)
}

// commandHere is command with sockets in the folder of temporary files.
func commandHere(t *testing.T, mode string) (host.Command, *journal) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	return host.Command{
		Name: "tested", Args: []string{exe}, Dir: filepath.Join(t.TempDir(), "own"),
		Env: map[string]string{modeVariable: mode, "HOSTTEST_ARG": ""},
		Log: j.logger(), StartTimeout: soon,
	}, j
}

func start(t *testing.T, c host.Command) *host.Process {
	t.Helper()
	p, err := host.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// refused starts a command that has to fail, and returns the error.
func refused(t *testing.T, c host.Command) error {
	t.Helper()
	p, err := host.Start(t.Context(), c)
	if err == nil {
		p.Kill()
		t.Fatal("it started")
	}
	return err
}

func wantText(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no %q in %s", what, part, text)
		}
	}
}

func awaitDone(t *testing.T, p *host.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(soon):
		t.Fatal("the process does not end")
	}
}

// eventually waits for a condition of other processes.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// open opens the transport. A plugin that ends then makes it fail.
func open(t *testing.T, p *host.Process, dir string) error {
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := p.Open(ctx, transport.Options{Config: []byte("{}"), Dir: dir, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	return err
}

// roundTrip opens the transport and hears an envelope that it published.
func roundTrip(t *testing.T, p *host.Process, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := open(t, p, dir); err != nil {
		t.Fatal(err)
	}
	topic := transport.Topic{1, 2, 3, 4}
	if err := p.Subscribe(ctx, transport.Filter{Topics: []transport.Topic{topic}}); err != nil {
		t.Fatal(err)
	}
	sent := transport.Envelope{ID: 1, Topic: topic, Data: []byte("hello"), Sent: time.Now().Truncate(time.Second), TTL: time.Minute}
	for _, err := range p.Publish(ctx, []transport.Envelope{sent}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	report, err := p.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Envelopes) != 1 || string(report.Envelopes[0].Data) != "hello" {
		t.Errorf("got %v, want what was published", report)
	}
}

func TestGoodPluginCarriesEnvelopes(t *testing.T) {
	for _, confine := range []host.Confine{host.Best, host.Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, j := command(t, "good")
			c.Confine = confine
			p := start(t, c)
			t.Log(p.Confinement())
			roundTrip(t, p, c.Dir)
			if err := p.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			p.Kill()
			p.Kill()
			if err := p.Err(); err != nil {
				t.Errorf("after Kill: %v; log %s", err, j)
			}
			if running(p.PID()) {
				t.Error("it still runs")
			}
		})
	}
}

func TestDebuggedPluginStarts(t *testing.T) {
	c, _ := command(t, "good")
	c.Debug = true
	p := start(t, c)
	roundTrip(t, p, c.Dir)
	wantText(t, "confinement", p.Confinement(), "none")
}

func TestClosingTheTransportEndsTheProcess(t *testing.T) {
	c, _ := command(t, "good")
	p := start(t, c)
	roundTrip(t, p, c.Dir)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	awaitDone(t, p)
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	for _, tt := range []struct {
		mode string
		arg  string
		want []string
	}{
		{"silent", "", []string{"not ready within"}},
		{"garbage", "", []string{`printed "hello`, "before the handshake line"}},
		{"endless-stdout", "", []string{"before the handshake line"}},
		{"exit", "", []string{"exit status 3", "no config here", "without a handshake line"}},
		{"closed-stdout", "", []string{"without a handshake line"}},
		{"version", "", []string{`version "9"`, "speaks 1 and 2"}},
		{"foreign-socket", "/run/other.sock", []string{"/run/other.sock", "not in PLUGIN_UNIX_SOCKET_DIR"}},
		{"deaf-socket", "", []string{"start tested"}},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			c, _ := command(t, tt.mode)
			c.Env["HOSTTEST_ARG"] = tt.arg
			if tt.mode == "silent" || tt.mode == "deaf-socket" {
				c.StartTimeout = 2 * time.Second
			}
			err := refused(t, c)
			t.Log(err)
			wantText(t, "error", err.Error(), tt.want...)
			if strings.ContainsRune(err.Error(), '\x1b') {
				t.Error("an escape is in the error")
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	c, _ := command(t, "silent")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if p, err := host.Start(ctx, c); err == nil {
		p.Kill()
		t.Fatal("it started")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPluginThatEndsIsReported(t *testing.T) {
	for mode, want := range map[string]string{
		"exit-later":  "exit status 7",
		"panic-later": "panic: seeded fault",
	} {
		t.Run(mode, func(t *testing.T) {
			c, j := command(t, mode)
			p := start(t, c)
			if err := open(t, p, c.Dir); err == nil {
				t.Error("it opened")
			}
			awaitDone(t, p)
			if p.Err() == nil {
				t.Fatal("no error")
			}
			wantText(t, "error", p.Err().Error(), want)
			if mode == "panic-later" {
				wantText(t, "last log", strings.Join(p.LastLog(), "\n"), "panic: seeded fault", "goroutine ", "main_test.go")
				if n := strings.Count(j.String(), "level=ERROR msg=crashed"); n != 1 {
					t.Errorf("%d records of the crash, want 1: %s", n, j)
				}
			}
		})
	}
}

func TestMemoryHogIsKilled(t *testing.T) {
	c, _ := command(t, "hog")
	c.Memory = 200 << 20
	c.Watch = 20 * time.Millisecond
	p := start(t, c)
	if err := open(t, p, c.Dir); err == nil {
		t.Error("it opened")
	}
	awaitDone(t, p)
	if p.Err() == nil {
		t.Fatal("no error")
	}
	wantText(t, "error", p.Err().Error(), "memory: used", "limit 200 MiB")
}

func TestStubbornPluginIsKilled(t *testing.T) {
	for _, confine := range []host.Confine{host.Best, host.Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, _ := command(t, "stubborn")
			c.Confine = confine
			p := start(t, c)
			roundTrip(t, p, c.Dir)
			begun := time.Now()
			var all sync.WaitGroup
			for range 4 {
				all.Go(p.Kill)
			}
			all.Wait()
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if running(p.PID()) {
				t.Error("it still runs")
			}
		})
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := host.Command{
		SHA256: "12", Pins: map[string]string{"x": "y"}, Dir: "relative", Confine: 9,
		Env:       map[string]string{"PLUGIN_X": "1", "a b": "1", "LD_PRELOAD": "x"},
		AllowRead: []string{"/", "here"}, Hide: []string{"/data"},
		Memory: 1, Processes: -1, StartTimeout: -1, Watch: -1, LogRate: -1,
	}.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	wantText(t, "faults", err.Error(), "host: args: no program", "host: sha256:", "host: pins: \"x\"", "host: dir:",
		"host: env: PLUGIN_X", `host: env: "a b"`, "host: env: LD_PRELOAD", "host: allow_read: / contains /data",
		`host: allow_read: "here"`, "host: memory:", "host: processes:", "host: start_timeout:", "host: watch:",
		"host: log_rate:", "host: confine: 9")
	good := host.Command{Args: []string{"x"}, Dir: "/x"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
