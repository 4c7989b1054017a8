package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// What two processes more cost on this machine whatever is done in them: the
// same way as that of the plugins, through sockets of the same kind, by programs
// that do nothing but read and write. There is no gRPC, no TLS, no confinement
// and no check.

// serveBare is such a program. It ends with its host.
func serveBare(args []string) bool {
	if len(args) != 4 || args[0] != "bare" {
		return false
	}
	host, err := net.Dial("unix", args[2])
	if err != nil {
		return true
	}
	defer host.Close()
	if args[1] == "in" {
		network, err := net.Dial("udp", args[3])
		if err == nil {
			pump(host, network)
		}
		return true
	}
	network, err := net.ListenPacket("udp", args[3])
	if err == nil {
		// The host waits for a sign that it listens.
		if _, err := host.Write([]byte{0}); err == nil {
			pump(network.(net.Conn), host)
		}
	}
	return true
}

func pump(from, to net.Conn) {
	for b := make([]byte, 2*benchSize); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// newBarePair starts both programs.
func newBarePair(b *testing.B) *udpPair {
	b.Helper()
	at := freeUDPs(b, 1)[0]
	out, in := bareProgram(b, "out", at), bareProgram(b, "in", at)
	p := &udpPair{got: make(chan time.Time, 16), send: func(c transport.Publish) { _, _ = in.Write(c.Data) }}
	sign := make([]byte, 1)
	if _, err := out.Read(sign); err != nil {
		b.Fatal(err)
	}
	go func() {
		for data := make([]byte, 2*benchSize); ; {
			if _, err := out.Read(data); err != nil {
				return
			}
			p.got <- time.Now()
		}
	}()
	return p
}

func bareProgram(b *testing.B, way, at string) net.Conn {
	b.Helper()
	socket := filepath.Join(shortDir(b), way)
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self, "bare", way, socket, at)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	conn, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
