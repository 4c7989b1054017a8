package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// shimmed says that main called Shim, so that this program can be its own shim.
var shimmed atomic.Bool

// shimName is what the shim is called with. An ordinary user gains nothing by
// calling it so.
const shimName = "strata-plugin-shim"

// Descriptors of the shim.
const (
	orderFD   = 3 // reads an order
	reportFD  = 4 // writes reports
	programFD = 5 // the program
)

// reportTime bounds the shim's work: mounts and a few files to be copied.
const reportTime = 10 * time.Second

// order is what the host tells the shim.
type order struct {
	Args  []string
	Env   []string
	Dir   string
	Run   string
	Read  []string          // files and folders to be read and executed
	Pins  map[string]string // files to be copied, with their SHA-256
	Hide  []string
	Stamp stamp // of the program
	Tasks int   // processes and threads the namespace may hold

	Namespaces bool
	Required   bool
}

// report is what the shim answers, once or, when the program could not be
// executed, twice.
type report struct {
	InForce []string `json:",omitempty"`
	Refused []string `json:",omitempty"`
	Fault   string   `json:",omitempty"`

	Checksum bool `json:",omitempty"` // the fault is an ErrChecksum
}

// systemEnvironment returns the variables every program may want.
func systemEnvironment() []string { return []string{"PATH=/usr/local/bin:/usr/bin:/bin"} }

// spawn starts the program with the environment, confined as far as ordered and
// possible.
func (c *child) spawn(ctx context.Context, env []string) error {
	if c.command.Confine == Off || !shimmed.Load() {
		c.confine = "none: off"
		if c.command.Confine != Off {
			c.confine = "none: this program does not call host.Shim"
		}
		if c.command.Confine == Required {
			return fmt.Errorf("confinement is required: %s", c.confine)
		}
		return c.spawnPlain(env)
	}
	err := c.spawnShim(ctx, env, true)
	if refusal := (*refusedError)(nil); errors.As(err, &refusal) && c.command.Confine != Required {
		err = c.spawnShim(ctx, env, false)
		if err == nil {
			c.confine += "; " + refusal.Error()
		}
	}
	return err
}

// spawnPlain starts the program without a shim, by the descriptor that was
// checked.
func (c *child) spawnPlain(env []string) error {
	cmd := &exec.Cmd{
		Path: "/proc/self/fd/3", Args: c.program.args, Env: env, Dir: c.command.Dir,
		ExtraFiles:  []*os.File{c.program.file},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := c.recheck(); err != nil {
		return err
	}
	if err := c.launch(cmd); err != nil {
		return fmt.Errorf("%s: %w", c.program.path, err)
	}
	c.own(&tree{root: c.process.Pid})
	return nil
}

// recheck makes sure that the program is what it was when it was checked.
func (c *child) recheck() error {
	now, err := stampOf(c.program.file)
	if err == nil && now != c.program.stamp {
		err = fmt.Errorf("%s: %w: it was changed while it was started", c.program.path, ErrChecksum)
	}
	return err
}

// refusedError says that the machine allows no namespaces.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "no namespaces: " + e.err.Error() }

// spawnShim starts this very program as the shim, and waits until it has become
// the plugin.
func (c *child) spawnShim(ctx context.Context, env []string, namespaces bool) error {
	orderRead, orderWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer orderWrite.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		orderRead.Close()
		return err
	}
	defer reportRead.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{shimName},
		// A thread less is one less that can get in the way of the exec.
		Env: []string{"GOMAXPROCS=1", "GOGC=off"}, Dir: "/",
		ExtraFiles:  []*os.File{orderRead, reportWrite, c.program.file},
		SysProcAttr: attributes(namespaces),
	}
	err = c.launch(cmd)
	orderRead.Close()
	reportWrite.Close()
	if err != nil && namespaces {
		return &refusedError{err}
	}
	if err != nil {
		return err
	}
	c.own(&tree{root: c.process.Pid, sealed: namespaces})

	written := make(chan struct{})
	go func() {
		defer close(written)
		// A shim that does not read is noticed by its missing report.
		_ = json.NewEncoder(orderWrite).Encode(c.order(env, namespaces))
	}()
	err = c.readReports(ctx, reportRead)
	orderWrite.SetWriteDeadline(time.Unix(1, 0))
	<-written
	return err
}

// attributes returns those of the shim's process. The user of the namespace is
// called root there so that it may mount; in the end it has no capability.
func attributes(namespaces bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if namespaces {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return a
}

func (c *child) order(env []string, namespaces bool) order {
	return order{
		Args: c.program.args, Env: env, Dir: c.command.Dir, Run: c.run,
		Read:       slices.Concat([]string{c.program.path}, c.program.read, c.command.AllowRead),
		Pins:       c.program.pins,
		Hide:       c.command.Hide,
		Stamp:      c.program.stamp,
		Tasks:      tasksFor(c.command.Processes),
		Namespaces: namespaces,
		Required:   c.command.Confine == Required,
	}
}

// tasksFor returns how many threads so many processes may have together: 16
// each, and some for a large one.
func tasksFor(processes int) int { return 1024 + 16*processes }

// readReports reads what the shim says until it has become the plugin, which
// closes its end.
func (c *child) readReports(ctx context.Context, r *os.File) error {
	if c.command.Debug {
		ctx = context.WithoutCancel(ctx)
	}
	r.SetReadDeadline(time.Now().Add(reportTime))
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// Names of the shim's own making; the plugin does not exist yet.
	in := json.NewDecoder(io.LimitReader(r, 1<<16))
	heard := false
	for {
		var rep report
		switch err := in.Decode(&rep); {
		case errors.Is(err, io.EOF) && heard:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the shim ended without a report")
		case err != nil:
			return fmt.Errorf("the shim: %w", err)
		case rep.Fault != "":
			return rep.fault()
		}
		heard = true
		c.confine = describe(rep)
	}
}

// fault returns the reported fault as an error of this process.
func (r report) fault() error {
	if r.Checksum {
		return checksumError(r.Fault)
	}
	return errors.New(r.Fault)
}

// checksumError is an ErrChecksum that the shim has found.
type checksumError string

func (e checksumError) Error() string { return string(e) }
func (e checksumError) Unwrap() error { return ErrChecksum }

func describe(r report) string {
	text := strings.Join(r.InForce, ", ")
	if text == "" {
		text = "none"
	}
	if len(r.Refused) > 0 {
		text += ": " + strings.Join(r.Refused, "; ")
	}
	return text
}
