package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of a confined plugin, beside those of its Command.
const (
	maxFiles    = 4096    // descriptors of a process: a thousand peers on two transports
	maxFileSize = 1 << 30 // bytes of a file that it writes
)

// Shim has to be called first thing in main. In a process that Start began as a
// shim it gives up all rights that the plugin shall not have, executes the
// plugin in its place, and never returns. In every other process it does
// nothing but tell Start that confinement can be had.
func Shim() {
	shimmed.Store(true)
	if len(os.Args) != 1 || os.Args[0] != shimName {
		return
	}
	// What is given up is given up for a thread, and the plugin inherits from
	// the thread that executes it.
	runtime.LockOSThread()
	// Nothing that the host left open stays open in the plugin.
	if err := unix.CloseRange(orderFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := orderFD; fd <= programFD; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	out := json.NewEncoder(os.NewFile(reportFD, "report"))
	var o order
	err := json.NewDecoder(os.NewFile(orderFD, "order")).Decode(&o)
	if err == nil {
		err = o.carryOut(out)
	}
	// The host sees a missing report too.
	_ = out.Encode(report{Fault: err.Error(), Checksum: errors.Is(err, ErrChecksum)})
	os.Exit(1) //nolint:forbidigo // the shim is a main of its own
}

// carryOut confines this thread and executes the plugin. It returns only if
// that failed.
func (o order) carryOut(out *json.Encoder) error {
	var r report
	refuse := func(what string, err error) {
		r.Refused = append(r.Refused, what+": "+err.Error())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	var mounts error
	if o.Namespaces {
		if mounts = o.enterRoot(); errors.Is(mounts, ErrChecksum) {
			return mounts
		}
	}
	if err := o.limit(); err != nil {
		return err
	}
	abi, err := o.landlock()
	if err != nil {
		refuse("no landlock", err)
	} else {
		r.InForce = append(r.InForce, "landlock "+strconv.Itoa(abi))
	}
	switch {
	case mounts != nil:
		refuse("no mount namespace", mounts)
		r.InForce = append(r.InForce, "process namespace")
	case o.Namespaces:
		r.InForce = append(r.InForce, "namespaces")
	}
	if o.Required && (len(r.Refused) > 0 || !o.Namespaces) {
		return fmt.Errorf("confinement is required: %s", describe(r))
	}
	if err := os.Chdir(o.Dir); err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	if err := tieToHost(); err != nil {
		return err
	}
	if err := filterCalls(o.Namespaces && mounts == nil); err != nil {
		refuse("no seccomp", err)
	} else {
		r.InForce = append(r.InForce, "seccomp")
	}
	if err := out.Encode(r); err != nil {
		return err
	}
	return o.execute()
}

// limit sets what the kernel counts for each process, and drops capabilities.
func (o order) limit() error {
	limits := []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, maxFiles},
		{unix.RLIMIT_FSIZE, maxFileSize},
	}
	for _, l := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("rlimit: %w", err)
		}
		// A limit that is lower already cannot be raised, and need not be.
		v := min(l.value, now.Max)
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("rlimit: %w", err)
		}
	}
	if o.Namespaces {
		// In the namespace this counts the plugin's own threads only. The
		// kernel exempts the real root.
		n := uint64(o.Tasks)
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("rlimit: %w", err)
		}
	}
	return o.dropCapabilities()
}

// dropCapabilities takes away what root has more than a user. Where the host is
// root without a namespace it may, too.
func (o order) dropCapabilities() error {
	for c := range uintptr(64) {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // there are no more
		}
		if err != nil && o.Namespaces {
			return fmt.Errorf("capabilities: %w", err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}

// tieToHost makes the kernel end this process with its host. The signal is
// bound to the thread that executes, not to the one Start began.
func tieToHost() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent death signal: %w", err)
	}
	// A child reaps what it orphans, so that the host can find it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("subreaper: %w", err)
	}
	// The host may have died before; then nobody holds the other end.
	order := []unix.PollFd{{Fd: orderFD}}
	if _, err := unix.Poll(order, 0); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	if order[0].Revents&unix.POLLHUP != 0 {
		return errors.New("the host is gone")
	}
	return nil
}

// execute becomes the plugin, by the descriptor that the host checked.
func (o order) execute() error {
	now, err := stampOf(os.NewFile(programFD, o.Args[0]))
	if err != nil {
		return err
	}
	if now != o.Stamp {
		return fmt.Errorf("%w: %s was changed while it was started", ErrChecksum, o.Args[0])
	}
	args, err := syscall.SlicePtrFromStrings(o.Args)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		return err
	}
	path := [1]byte{}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, programFD, uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("%s: %w", o.Args[0], errno)
}
