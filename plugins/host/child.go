package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"
)

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
