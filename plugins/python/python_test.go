package python

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/host"
	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
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
