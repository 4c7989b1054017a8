package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/stratanode/strata/plugins/transport"
)

// maxHandshake is the length in bytes of the handshake line above which it is
// refused: with a certificate it has about 900.
const maxHandshake = 4 << 10

// child is the operating system's process of a plugin, as go-plugin's runner.
// It reads the plugin's output itself: go-plugin would panic at some lines of
// JSON and keep lines of any length.
type child struct {
	command Command
	program *program
	run     string // folder of the socket
	print   *printer

	process *os.Process
	confine string // what is in force

	outRead, errRead *os.File       // the plugin's output
	line             *io.PipeReader // the handshake line, for go-plugin
	lineWrite        *io.PipeWriter
	readers          sync.WaitGroup

	gone    chan struct{}    // closed when the process was waited for
	state   *os.ProcessState // valid then
	drained chan struct{}    // closed when its output was read besides

	mu    sync.Mutex
	tree  *tree         // nil until there is a process
	shook bool          // the handshake line was right
	fault error         // why it was ended, or found to be useless
	ended chan struct{} // closed with the first fault
}

func newChild(c Command, p *program, run string) *child {
	ch := &child{
		command: c, program: p, run: run,
		print: newPrinter(c.Log, c.Name, c.LogRate),
		gone:  make(chan struct{}), drained: make(chan struct{}), ended: make(chan struct{}),
	}
	ch.line, ch.lineWrite = io.Pipe()
	return ch
}

// start starts the process. It is called once; wire holds the variables
// of go-plugin.
func (c *child) start(ctx context.Context, wire []string) error {
	env := slices.Concat(c.environment(), wire)
	err := c.spawn(ctx, env)
	if err != nil {
		c.end(err)
		c.kill()
	}
	if c.process == nil {
		return err
	}
	c.readers.Add(2)
	go c.readStdout()
	go c.readStderr()
	go c.drain()
	if !c.command.Debug {
		go c.watch()
	}
	return err
}

// environment returns the plugin's variables.
func (c *child) environment() []string {
	env := append(systemEnvironment(),
		"LANG=C.UTF-8",
		"HOME="+c.command.Dir,
		"STRATA_DIR="+c.command.Dir,
		"TMPDIR="+c.run,
	)
	for name, value := range c.command.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// launch starts cmd with pipes for its output. The thread it is started from
// lives as long as the process, because Linux sends the signal of the parent's
// death at the death of that thread.
func (c *child) launch(cmd *exec.Cmd) error {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return errors.Join(err, outRead.Close(), outWrite.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, outWrite, errWrite

	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		c.process = cmd.Process
		started <- err
		if err == nil {
			// The error says no more than the state.
			_ = cmd.Wait()
			c.state = cmd.ProcessState
			close(c.gone)
		}
	}()
	err = <-started
	outWrite.Close()
	errWrite.Close()
	if err != nil {
		return errors.Join(err, outRead.Close(), errRead.Close())
	}
	c.outRead, c.errRead = outRead, errRead
	return nil
}

// own records the processes to be watched and killed. The child may have been
// ended before there were any.
func (c *child) own(t *tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tree = t
	select {
	case <-c.ended:
		t.kill()
	default:
	}
}

// owned returns what own was given, or nil.
func (c *child) owned() *tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree
}

// drain ends the readers some time after the process.
func (c *child) drain() {
	defer close(c.drained)
	<-c.gone
	c.owned().release()
	deadline := time.Now().Add(drainTime)
	c.outRead.SetReadDeadline(deadline)
	c.errRead.SetReadDeadline(deadline)
	c.readers.Wait()
	c.outRead.Close()
	c.errRead.Close()
	c.print.end()
	c.end(c.exitError())
}

func (c *child) readStderr() {
	defer c.readers.Done()
	lines := splitter{line: c.print.line}
	io.Copy(&lines, c.errRead)
	lines.flush()
}

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

// end records why the child is of no use any more, if it is the first reason.
func (c *child) end(fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended:
	default:
		c.fault = fault
		close(c.ended)
	}
}

// cause returns what end was given first.
func (c *child) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// kill ends the process and all its descendants at once. It does not wait.
func (c *child) kill() {
	if t := c.owned(); t != nil {
		t.kill()
	}
}

// settle makes err the reason of a failed start, unless the child turns out to
// have a better one.
func (c *child) settle(err error) {
	if await(c.ended, drainTime) {
		return
	}
	c.mu.Lock()
	shook := c.shook
	c.mu.Unlock()
	if !shook {
		err = errors.New("it closed its stdout without a handshake line")
	}
	c.end(err)
}

// exitError says how the process ended.
func (c *child) exitError() error {
	how := c.state.String() // "exit status 3", "signal: killed"
	if crash := c.print.crash(); crash != "" {
		return fmt.Errorf("it crashed (%s): %s", how, crash)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shook {
		return fmt.Errorf("it ended (%s) without a handshake line", how)
	}
	return fmt.Errorf("it ended by itself (%s)", how)
}
