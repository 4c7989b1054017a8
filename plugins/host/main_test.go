//go:build unix

package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
)

// The test binary is host, shim and plugin in one: the variable says which
// plugin it is, in the environment that only a plugin has.
const modeVariable = "HOSTTEST_MODE"

func TestMain(m *testing.M) {
	if os.Getenv("HOSTTEST_NAMESPACES") != "no shim" {
		host.Shim()
	}
	if mode := os.Getenv(modeVariable); mode != "" {
		play(mode, os.Getenv("HOSTTEST_ARG"))
		return
	}
	if dir := os.Getenv("HOSTTEST_HOST"); dir != "" {
		beHost(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// play is the main of the plugins.
func play(mode, arg string) {
	switch mode {
	case "good":
	case "silent":
		select {}
	case "garbage":
		fmt.Println("hello \x1b[31mworld")
		select {}
	case "endless-stdout":
		block := strings.Repeat("x", 1<<16)
		for {
			fmt.Print(block)
		}
	case "exit":
		fmt.Fprintln(os.Stderr, "no config here")
		os.Exit(3)
	case "closed-stdout":
		os.Stdout.Close()
		select {}
	case "version":
		fmt.Println("1|9|unix|/x|grpc|")
		select {}
	case "foreign-socket":
		fmt.Println("1|2|unix|" + arg + "|grpc|" + strings.Repeat("A", 900))
		select {}
	case "deaf-socket":
		l, err := net.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/s")
		must(err)
		fmt.Println("1|2|unix|" + l.Addr().String() + "|grpc|" + strings.Repeat("A", 900))
		select {}
	case "logs":
		printLogs()
	case "flood":
		for i := range 20_000 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
	case "endless-line":
		block := strings.Repeat("y", 1<<16)
		for range 64 { // 4 MiB
			fmt.Fprint(os.Stderr, block)
		}
		fmt.Fprintln(os.Stderr, "\nafter")
	case "panic-later":
		onOpen = func() { go panic("seeded fault"); select {} }
	case "exit-later":
		onOpen = func() { os.Exit(7) }
	case "hog":
		onOpen = hog
	case "forks":
		n, err := strconv.Atoi(arg)
		must(err)
		fork(n)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		transport.Serve(func() transport.Transport { return &stubborn{} })
	case "probe":
		writeResult(probe(arg))
	case "child":
		signal.Ignore(syscall.SIGTERM)
		select {}
	default:
		panic("unknown mode " + mode)
	}
	transport.Serve(func() transport.Transport { return &loop{ready: make(chan struct{}, 1), closed: make(chan struct{})} })
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func printLogs() {
	log := func(s string) { fmt.Fprintln(os.Stderr, s) }
	log(`{"@level":"warn","@message":"from \u001b[31mjson","plugin":"impostor","n":5,"deep":{"a":[1,2]}}`)
	log(`{"@level":7,"@message":{"x":1}}`)
	log(`{"@message":5}`)
	log("plain \x1b]0;title\x07 text")
	log("Traceback (most recent call last):")
	log(`  File "x.py", line 1`)
	log("ValueError: odd")
	log("end of logs")
}

// hog touches memory until it is killed.
func hog() {
	debug.SetGCPercent(-1)
	var all [][]byte
	for range 4096 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, len(all))
}

// fork starts children, each in a session of its own.
func fork(n int) {
	for range n {
		cmd := exec.Command("/bin/sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "fork:", err)
			return
		}
		// The child's number is of its namespace; the host finds it otherwise.
	}
}

func writeResult(v any) {
	b, err := json.Marshal(v)
	must(err)
	must(os.WriteFile(filepath.Join(os.Getenv("STRATA_DIR"), "result.json"), b, 0o600))
}

// beHost is a host in a process of its own: it starts a plugin, says in which
// process and how it is confined, and waits to be killed.
func beHost(dir string) {
	if os.Getenv("HOSTTEST_NAMESPACES") == "none" {
		// The limit counts in the user namespace that the test began, only.
		must(os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
	}
	var confine host.Confine
	must(json.Unmarshal([]byte(os.Getenv("HOSTTEST_CONFINE")), &confine))
	var env map[string]string
	must(json.Unmarshal([]byte(os.Getenv("HOSTTEST_ENV")), &env))
	p, err := host.Start(context.Background(), host.Command{
		Name: "tested", Args: []string{must1(os.Executable())}, Dir: filepath.Join(dir, "plugin"), Env: env, Confine: confine,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	state := hosted{}
	if err != nil {
		state.Error = err.Error()
	} else {
		state.PID, state.Confinement = p.PID(), p.Confinement()
	}
	must(os.WriteFile(filepath.Join(dir, "state.tmp"), must1(json.Marshal(state)), 0o600))
	must(os.Rename(filepath.Join(dir, "state.tmp"), filepath.Join(dir, "state")))
	time.Sleep(time.Minute)
}

// hosted is what beHost says.
type hosted struct {
	PID         int
	Confinement string
	Error       string
}

func must1[T any](v T, err error) T {
	must(err)
	return v
}

// onOpen is what loop does besides when it is opened.
var onOpen = func() {}

// loop is a transport that hears itself.
type loop struct {
	ready  chan struct{}
	closed chan struct{}
	queue  chan transport.Envelope
}

func (l *loop) Open(context.Context, transport.Options) (transport.Info, error) {
	onOpen()
	l.queue = make(chan transport.Envelope, transport.MaxBatch)
	return transport.Info{
		Name: "loop", Version: "1", MaxData: transport.MaxEnvelope, MaxTTL: time.Hour, Latency: time.Second,
	}, nil
}

func (l *loop) Subscribe(context.Context, transport.Filter) error { return nil }

func (l *loop) Publish(_ context.Context, batch []transport.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		select {
		case l.queue <- e:
		default:
			errs[i] = transport.ErrBusy
		}
	}
	return errs
}

func (l *loop) Receive(ctx context.Context) (transport.Report, error) {
	select {
	case e := <-l.queue:
		return transport.Report{Envelopes: []transport.Envelope{e}}, nil
	case <-l.closed:
		return transport.Report{}, transport.ErrClosed
	case <-ctx.Done():
		return transport.Report{}, ctx.Err()
	}
}

func (l *loop) Close(context.Context) error {
	close(l.closed)
	return nil
}

// stubborn never closes.
type stubborn struct{ loop }

func (s *stubborn) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	s.closed = make(chan struct{})
	return s.loop.Open(ctx, o)
}

func (s *stubborn) Close(context.Context) error { select {} }
