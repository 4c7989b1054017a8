package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"

	"github.com/stratanode/strata/plugins/transport"
)

// maxHandshake is the length in bytes of the handshake line above which it is
// refused: with a certificate it has about 900.
const maxHandshake = 4 << 10

// readStdout reads the handshake line and passes it on, if it is one. What
// follows is output as any other.
func (c *child) readStdout() {
	defer c.readers.Done()
	defer c.lineWrite.Close()
	line, rest, err := readHandshake(c.outRead)
	if len(line) > 0 || err == nil {
		if fault := c.checkHandshake(line); fault != nil {
			c.end(fault)
			c.kill()
		} else {
			c.mu.Lock()
			c.shook = true
			c.mu.Unlock()
			c.lineWrite.Write(append([]byte(line), '\n'))
		}
	}
	c.lineWrite.Close()
	lines := splitter{line: c.print.line}
	lines.Write(rest)
	io.Copy(&lines, c.outRead)
	lines.flush()
}

// readHandshake reads a line of at most maxHandshake bytes, and returns what
// was read beyond it. Without an end the line is what there was.
func readHandshake(r io.Reader) (line string, rest []byte, err error) {
	buf := make([]byte, 0, maxHandshake)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if line, rest, ok := bytes.Cut(buf, []byte("\n")); ok {
			return string(line), rest, nil
		}
		if err != nil || len(buf) == cap(buf) {
			return string(buf), nil, err
		}
	}
}

// checkHandshake returns what is wrong with the handshake line. go-plugin
// checks it again, but its messages are for those who know go-plugin.
func (c *child) checkHandshake(line string) error {
	line = strings.TrimSpace(line)
	fields := strings.Split(line, "|")
	if len(fields) < 5 || fields[0] == "" || strings.Trim(fields[0], "0123456789") != "" {
		return fmt.Errorf("it printed %q before the handshake line; nothing may be, and logs belong to stderr", transport.Clean(line, 80))
	}
	shown := make([]string, len(fields))
	for i, f := range fields {
		shown[i] = transport.Clean(f, 80)
	}
	if fields[0] != strconv.Itoa(plugin.CoreProtocolVersion) {
		return fmt.Errorf("its handshake line begins with %q, not with %d", shown[0], plugin.CoreProtocolVersion)
	}
	if v, err := strconv.Atoi(fields[1]); err != nil || transport.HostPlugins()[v] == nil {
		return fmt.Errorf("it speaks version %q of the protocol; this host speaks %d and %d", shown[1], transport.Version1, transport.Version2)
	}
	if fields[4] != string(plugin.ProtocolGRPC) {
		return fmt.Errorf("it speaks %q instead of grpc", shown[4])
	}
	if !c.command.Debug && (len(fields) < 6 || len(fields[5]) < 50) {
		return errors.New("its handshake line has no certificate, though PLUGIN_CLIENT_CERT was set")
	}
	return c.checkSocket(fields[2], fields[3])
}

// checkSocket refuses an address that is not a socket in the plugin's own
// folder: the host shall not be sent to other places.
func (c *child) checkSocket(network, address string) error {
	shown := transport.Clean(address, 120)
	if network != "unix" {
		return fmt.Errorf("it listens on %q, not on a unix socket", transport.Clean(network, 16))
	}
	if !filepath.IsAbs(address) || !contains(c.run, filepath.Clean(address)) {
		return fmt.Errorf("its socket %q is not in PLUGIN_UNIX_SOCKET_DIR", shown)
	}
	if info, err := os.Lstat(address); err != nil || info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%q in its handshake line is not a socket", shown)
	}
	return nil
}
