//go:build unix

package transport

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// programKey is the environment variable that makes the test binary one of the
// programs.
const programKey = "STRATA_TEST_PROGRAM"

var programs = map[string]func(){
	"plugin":   func() { Serve(func() Transport { return newLoud() }) },
	"version1": func() { ServeVersions(func() Transport { return newLoud() }, Version1) },
	"bench":    func() { Serve(func() Transport { return newEcho() }) },
	"host":     func() { hostMain(true) },
	"early":    func() { hostMain(false) },
}

// loud is a transport that prints to stdout whenever it can and returns what
// was published.
type loud struct{ *fake }

func newLoud() loud {
	fmt.Println("printed by new")
	l := loud{newFake()}
	l.publish = func(_ context.Context, batch []Envelope) []error {
		fmt.Println("printed by Publish")
		_, _ = syscall.Write(1, []byte("printed to descriptor 1\n")) // as C would
		if string(batch[0].Data) == "panic" {
			panic("the author made a mistake")
		}
		l.reports <- Report{Envelopes: batch}
		return nil
	}
	return l
}

func (l loud) Open(ctx context.Context, o Options) (Info, error) {
	fmt.Println("printed by Open")
	o.Log.Warn("logged by Open", "@level", "fatal", "dir", o.Dir)
	return l.fake.Open(ctx, o)
}

// command returns how to start a program.
func command(t testing.TB, program string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{programKey + "=" + program}
	return cmd
}

// start starts a program as a plugin, by go-plugin as a node does, and opens it.
func start(t testing.TB, cmd *exec.Cmd, mtls bool) (*Remote, *plugin.Client, *lines) {
	t.Helper()
	log := new(lines)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  Handshake,
		VersionedPlugins: HostPlugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              cmd,
		SkipHostEnv:      true,
		AutoMTLS:         mtls,
		GRPCDialOptions:  DialOptions(),
		Stderr:           log,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: os.TempDir()},
		StartTimeout:     patience,
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.Dispense(Name)
	if err != nil {
		t.Fatal(err)
	}
	r := raw.(*Remote)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	if _, err := r.Open(context.Background(), Options{Dir: "the folder"}); err != nil {
		t.Fatal(err)
	}
	return r, client, log
}

// lines is what a plugin wrote to stderr.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// await waits until text was written.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		all := l.buf.String()
		l.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the log has no %q but %q", text, all)
		}
	}
}

func TestWhatAPluginPrintsGoesToTheLog(t *testing.T) {
	for _, mtls := range []bool{true, false} {
		t.Run(fmt.Sprintf("mtls=%t", mtls), func(t *testing.T) {
			r, client, log := start(t, command(t, "plugin"), mtls)
			if got := client.NegotiatedVersion(); got != Version2 || r.Version() != Version2 {
				t.Errorf("version %d and %d, want %d", got, r.Version(), Version2)
			}
			sent := envelopes(1, 1, 100)
			if errs := r.Publish(context.Background(), sent); errs != nil {
				t.Fatal(errs)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			report, err := r.Receive(ctx)
			if err != nil || len(report.Envelopes) != 1 || !bytes.Equal(report.Envelopes[0].Data, sent[0].Data) {
				t.Fatalf("got %v, %v", report, err)
			}
			for _, text := range []string{"printed by new", "printed by Open", "printed by Publish", "printed to descriptor 1"} {
				log.await(t, text+"\n")
			}
			log.await(t, `"@level":"warn","@message":"logged by Open","level_":"fatal","dir":"the folder"}`)
			if err := r.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestClosedPluginExitsWithZero(t *testing.T) {
	cmd := command(t, "plugin")
	r, client, _ := start(t, cmd, true)
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	client.Kill()
	if got := cmd.ProcessState.String(); got != "exit status 0" {
		t.Errorf("got %q", got)
	}
}

func TestTerminatedPluginClosesAndExitsWithZero(t *testing.T) {
	cmd := command(t, "plugin")
	r, client, _ := start(t, cmd, true)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil { // is ignored
		t.Fatal(err)
	}
	if errs := r.Publish(context.Background(), envelopes(1, 1, 100)); errs != nil {
		t.Fatal(errs)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	within(t, r.Broken(), "the end of the Pipe")
	client.Kill()
	if got := cmd.ProcessState.String(); got != "exit status 0" {
		t.Errorf("got %q", got)
	}
}

func TestPanicOfTheAuthorEndsTheProcessWithItsStack(t *testing.T) {
	cmd := command(t, "plugin")
	r, client, log := start(t, cmd, true)
	errs := r.Publish(context.Background(), []Envelope{{ID: 1, Data: []byte("panic"), TTL: time.Minute}})
	if len(errs) != 1 || ErrorOf(errs[0]).Code != CodeUnavailable {
		t.Errorf("got %v", errs)
	}
	log.await(t, "panic: the author made a mistake")
	log.await(t, "goroutine ")
	client.Kill()
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit code %d", got)
	}
}

func TestOldPluginIsSpokenToInItsVersion(t *testing.T) {
	r, client, _ := start(t, command(t, "version1"), true)
	if got := client.NegotiatedVersion(); got != Version1 || r.Version() != Version1 {
		t.Errorf("version %d and %d, want %d", got, r.Version(), Version1)
	}
}

func TestPluginStartedByHandSaysWhatItIs(t *testing.T) {
	cmd := command(t, "plugin")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 || len(stdout) > 0 {
		t.Errorf("ended with %v and printed %q", err, stdout)
	}
	if got := stderr.String(); !strings.Contains(got, "strata plugin test ") || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr is %q", got)
	}
}

// hostMain starts a plugin, whose descriptor 3 is its own, and waits to be killed.
func hostMain(opened bool) {
	t := new(testing.T)
	cmd := command(t, "plugin")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "alive")}
	if opened {
		_, _, _ = start(t, cmd, true)
	} else {
		cmd.Env = append(cmd.Env, "STRATA_TRANSPORT=v1", "PLUGIN_PROTOCOL_VERSIONS=2", "PLUGIN_UNIX_SOCKET_DIR="+os.TempDir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			panic(err)
		}
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // the handshake
			panic(err)
		}
	}
	fmt.Println("running")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestPluginDoesNotOutliveAKilledHost(t *testing.T) {
	for _, program := range []string{"host", "early"} {
		t.Run(program, func(t *testing.T) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			host := command(t, program)
			host.Env = append(host.Env, "TMPDIR="+t.TempDir())
			host.ExtraFiles = []*os.File{write}
			host.Stderr = os.Stderr
			out, err := host.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			in, err := host.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			write.Close()
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "running\n" {
				t.Fatalf("the host printed %q, %v", line, err)
			}
			if err := host.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = host.Wait()
			killed := time.Now()
			ended := make(chan error, 1)
			go func() { // the plugin holds the other end as long as it lives
				_, err := io.Copy(io.Discard, read)
				ended <- err
			}()
			select {
			case err := <-ended:
				t.Logf("gone after %v, %v", time.Since(killed).Round(time.Millisecond), err)
			case <-time.After(2 * time.Second):
				t.Error("the plugin lives 2 s after its host was killed")
				read.Close()
				<-ended
			}
		})
	}
}
