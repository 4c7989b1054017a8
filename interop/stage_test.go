package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// sceneTimeout is the time for one test. Typical is 2 s; most of it is the
	// 300 ms rhythm of go-ethereum and the derivation of keys.
	sceneTimeout = 45 * time.Second
	// lookEvery is the rhythm of eventually.
	lookEvery = 20 * time.Millisecond
	// logTail is how much of each log a failed test shows, in bytes.
	logTail = 6 << 10
)

// stage holds the processes of one test. They are killed when it ends; if one
// ends by itself before, everything that waits fails with that reason.
type stage struct {
	*testing.T
	ctx   context.Context
	fall  context.CancelCauseFunc
	dir   string
	procs []*process
}

// newStage opens a stage. Tests run beside each other: they mostly wait.
func newStage(t *testing.T) *stage {
	t.Parallel()
	dir, err := os.MkdirTemp(workDir, "t")
	if err != nil {
		t.Fatal(err)
	}
	timed, cancel := context.WithTimeout(context.Background(), sceneTimeout)
	s := &stage{T: t, dir: dir}
	s.ctx, s.fall = context.WithCancelCause(timed)
	t.Cleanup(func() {
		for _, p := range s.procs {
			p.kill()
		}
		if t.Failed() {
			s.showLogs()
		}
		cancel()
	})
	return s
}

// must fails the test if err is one, and says why the time was up.
func (s *stage) must(doing string, err error) {
	s.Helper()
	if err == nil {
		return
	}
	if s.ctx.Err() != nil {
		s.Fatalf("%s: %v (%v)", doing, err, context.Cause(s.ctx))
	}
	s.Fatalf("%s: %v", doing, err)
}

// await returns the first value of from that matches.
func await[T any](s *stage, what string, from <-chan T, match func(T) bool) T {
	s.Helper()
	for {
		select {
		case v := <-from:
			if match(v) {
				return v
			}
		case <-s.ctx.Done():
			s.Fatalf("waiting for %s: %v", what, context.Cause(s.ctx))
		}
	}
}

// eventually waits until look is satisfied; it is for what no event tells.
func (s *stage) eventually(what string, look func() (bool, error)) {
	s.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ok, err := look()
		s.must(what, err)
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("waiting for %s: %v", what, context.Cause(s.ctx))
		}
	}
}

// process is one child.
type process struct {
	name   string
	log    string
	cmd    *exec.Cmd
	stdin  io.Closer // held open; its end ends gethpeer
	killed chan struct{}
	exited chan struct{}
}

// start runs a program that prints a JSON line about itself, which goes into
// intro, when it is up.
func (s *stage) start(name string, intro any, program string, args ...string) *process {
	s.Helper()
	p := &process{
		name: name, log: filepath.Join(s.dir, name+".log"), cmd: exec.Command(program, args...),
		killed: make(chan struct{}), exited: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	s.must("log of "+name, err)
	defer log.Close()
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = diesWithParent()
	p.stdin, err = p.cmd.StdinPipe()
	s.must(name, err)
	out, err := p.cmd.StdoutPipe()
	s.must(name, err)
	s.must("start "+name, p.cmd.Start())
	s.procs = append(s.procs, p)
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, intro)
		}
		said <- err
		err = p.cmd.Wait()
		select {
		case <-p.killed:
		default:
			s.fall(fmt.Errorf("%s ended by itself: %v", name, err))
		}
		close(p.exited)
	}()
	select {
	case err := <-said:
		s.must(name+" did not come up", err)
	case <-s.ctx.Done():
		s.Fatalf("%s did not come up: %v", name, context.Cause(s.ctx))
	}
	return p
}

// kill ends the process and waits until it is gone.
func (p *process) kill() {
	close(p.killed)
	_ = p.cmd.Process.Kill()
	<-p.exited
	_ = p.stdin.Close()
}

// showLogs prints what each process said last.
func (s *stage) showLogs() {
	for _, p := range s.procs {
		b, err := os.ReadFile(p.log)
		if err != nil {
			s.Logf("log of %s: %v", p.name, err)
			continue
		}
		s.Logf("log of %s, the last %d of %d bytes:\n%s", p.name, min(len(b), logTail), len(b), b[max(0, len(b)-logTail):])
	}
}
