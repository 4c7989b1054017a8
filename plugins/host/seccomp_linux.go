//go:build linux && (amd64 || arm64)

package host

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denied are system calls that no transport needs and that attack the kernel,
// other processes, or the limits of memory.
var denied = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_SYSLOG, unix.SYS_QUOTACTL,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	// Memory that is in nobody's resident set.
	unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_SHMGET,
}

// marking are system calls that change modes, owners, attributes and times by
// path. Landlock does not guard these, so that they are denied where the files
// of others are in sight.
var marking = slices.Concat(oldCalls, []uint32{
	unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
})

// absent are system calls that are to be taken for unknown, so that a library
// does without: clone3 because a filter cannot see its flags.
var absent = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

// families are the kinds of sockets that are allowed.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// newNamespaces are the flags of clone by which it does what unshare does.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC |
	unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Offsets in struct seccomp_data.
const (
	dataNumber   = 0
	dataArch     = 4
	dataArgument = 16 // the first, its lower half
)

// filterCalls installs a filter of system calls for this thread. ownRoot says
// that nothing but the plugin's own is in sight.
func filterCalls(ownRoot bool) error {
	deny := denied
	if !ownRoot {
		deny = slices.Concat(denied, marking)
	}
	filter := callFilter(deny)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// callFilter returns the filter as a program of the classic packet filter.
func callFilter(deny []uint32) []unix.SockFilter {
	var f []unix.SockFilter
	load := func(offset uint32) {
		f = append(f, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
	}
	// jump skips so many instructions if the condition holds or does not.
	jump := func(condition uint16, k uint32, ifTrue, ifFalse uint8) {
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, Jt: ifTrue, Jf: ifFalse, K: k})
	}
	answer := func(k uint32) { f = append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}) }
	fail := func(errno unix.Errno) { answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

	load(dataArch)
	jump(unix.BPF_JEQ, auditArch(), 1, 0)
	answer(unix.SECCOMP_RET_KILL_PROCESS)
	load(dataNumber)
	if runtime.GOARCH == "amd64" { // the numbers of the x32 ABI
		jump(unix.BPF_JGE, 0x40000000, 0, 1)
		answer(unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, number := range deny {
		jump(unix.BPF_JEQ, number, 0, 1)
		fail(unix.EPERM)
	}
	for _, number := range absent {
		jump(unix.BPF_JEQ, number, 0, 1)
		fail(unix.ENOSYS)
	}
	jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4)
	load(dataArgument)
	jump(unix.BPF_JSET, newNamespaces, 0, 1)
	fail(unix.EPERM)
	answer(unix.SECCOMP_RET_ALLOW)

	jump(unix.BPF_JEQ, unix.SYS_SOCKET, 1, 0)
	answer(unix.SECCOMP_RET_ALLOW)
	load(dataArgument)
	for _, family := range families {
		jump(unix.BPF_JEQ, family, 0, 1)
		answer(unix.SECCOMP_RET_ALLOW)
	}
	fail(unix.EAFNOSUPPORT)
	return f
}

func auditArch() uint32 {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}
