package python

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
	"github.com/stratanode/strata/plugins/udp"
)

// python is the interpreter of the system, which has the system's packages.
const python = "/usr/bin/python3"

func TestMain(m *testing.M) {
	host.Shim()
	goleak.VerifyTestMain(m)
}

// needPython skips a test where the system has not the packages that the README
// asks for. In CI it fails there: the suite must not pass by not running.
func needPython(t *testing.T) {
	t.Helper()
	out, err := exec.Command(python, "-c", "import cryptography, google.protobuf, grpc").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("python3-grpcio, python3-protobuf or python3-cryptography is missing: %v: %s", err, out)
	default:
		t.Skipf("python3-grpcio, python3-protobuf or python3-cryptography is missing: %v: %s", err, out)
	}
}

// start starts a node of the transport.
func start(t *testing.T, dir string) (*host.Process, error) {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return host.Start(t.Context(), host.Command{
		Name: "python-udp", Args: []string{filepath.Join(here, "strata_udp.py")},
		Dir: dir, AllowRead: []string{here},
	})
}

// inFolder tells the transport of the folder in which its process may write.
type inFolder struct {
	*host.Process
	dir string
}

// Open implements transport.Transport.
func (p inFolder) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	o.Dir = p.dir
	return p.Process.Open(ctx, o)
}

func TestTransportConforms(t *testing.T) {
	needPython(t)
	dir := t.TempDir()
	transporttest.Run(t, transporttest.Target{New: func(node int) (transport.Transport, error) {
		own := filepath.Join(dir, fmt.Sprint(node))
		p, err := start(t, own)
		if err != nil {
			return nil, err
		}
		return inFolder{p, own}, nil
	}})
}

func TestTransportIsShort(t *testing.T) {
	text, err := Files.ReadFile("strata_udp.py")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines >= 150 {
		t.Errorf("strata_udp.py has %d lines, want less than 150", lines)
	}
}

func TestTalksWithTheTransportInGo(t *testing.T) {
	needPython(t)
	ports := freePorts(t)
	inPython, err := start(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer inPython.Kill()
	inGo := udp.New()
	defer inGo.Close(t.Context())
	nodes := []transport.Transport{inPython, inGo}
	for i, node := range nodes {
		config := fmt.Sprintf(`{"listen":"127.0.0.1:%d","peers":["127.0.0.1:%d"]}`, ports[i], ports[1-i])
		if _, err := node.Open(t.Context(), transport.Options{Config: []byte(config), Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		if err := node.Subscribe(t.Context(), transport.Filter{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	for i, node := range nodes {
		sent := transport.Envelope{
			ID: 1, Topic: transport.Topic{1, 2, 3, byte(i)}, Data: []byte("from one to the other"),
			Sent: time.Now().UTC().Truncate(time.Second), TTL: 10 * time.Second,
		}
		if errs := node.Publish(t.Context(), []transport.Envelope{sent}); len(errs) > 0 && errs[0] != nil {
			t.Fatal(errs[0])
		}
		got := receive(t, nodes[1-i])
		if got.Topic != sent.Topic || string(got.Data) != string(sent.Data) || !got.Sent.Equal(sent.Sent) || got.TTL != sent.TTL {
			t.Errorf("node %d: got %+v, want %+v", 1-i, got, sent)
		}
	}
}

// receive returns the next envelope.
func receive(t *testing.T, node transport.Transport) transport.Envelope {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		r, err := node.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Envelopes) > 0 {
			return r.Envelopes[0]
		}
	}
}

// freePorts returns two ports of UDP that are free now.
func freePorts(t *testing.T) (ports [2]int) {
	t.Helper()
	for i := range ports {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ports[i] = c.LocalAddr().(*net.UDPAddr).Port
	}
	return ports
}

func TestPluginWithoutANodeSaysWhatItIs(t *testing.T) {
	needPython(t)
	cmd := exec.Command(python, "strata_udp.py")
	cmd.Env = []string{"PYTHONDONTWRITEBYTECODE=1"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "transport plugin of Strata") {
		t.Errorf("got %v, %q, want exit 1 and what it is", err, out)
	}
}

func TestVersionsAreAgreedUpon(t *testing.T) {
	needPython(t)
	for _, tt := range []struct{ offered, want string }{
		{"1,2", "1|2|unix|"}, {"2,1", "1|2|unix|"}, {"1", "1|1|unix|"}, {"1,2,3", "1|2|unix|"}, {"3", ""},
	} {
		if got := handshake(t, tt.offered); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("offered %s: printed %q, want %q", tt.offered, got, tt.want)
		}
	}
}

// handshake starts the plugin without TLS and returns the line it prints.
func handshake(t *testing.T, offered string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "strata_udp.py")
	cmd.Env = []string{
		"STRATA_TRANSPORT=v1", "PLUGIN_PROTOCOL_VERSIONS=" + offered,
		"PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1",
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n') // none: it has ended
	cancel()
	_ = cmd.Wait() // it was killed
	return line
}
