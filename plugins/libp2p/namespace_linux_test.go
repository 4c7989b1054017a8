package libp2p

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolatedVariable names the test that plays in a network of its own.
const isolatedVariable = "LIBP2PTEST_ISOLATED"

// isolatedTime bounds one such test.
const isolatedTime = time.Minute

// isolated runs body in a network that has nothing but a loopback interface: the
// test binary runs this one test again in namespaces of its own, as a user that
// needs no rights outside them. So nothing it sends leaves the process.
func isolated(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(isolatedVariable) == t.Name() {
		loopbackUp(t)
		body(t)
		return
	}
	t.Parallel() // it only waits
	ctx, cancel := context.WithTimeout(context.Background(), isolatedTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+isolatedTime.String())
	cmd.Env = append(os.Environ(), isolatedVariable+"="+t.Name())
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		forbidden(t, "user and network namespaces: %v", err)
	}
	err := cmd.Wait()
	switch {
	case strings.Contains(out.String(), "--- SKIP: "+t.Name()):
		t.Skip(out.String())
	case err != nil:
		t.Fatalf("%v\n%s", err, out.String())
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Fatalf("it has not been run:\n%s", out.String())
	}
	t.Log(out.String())
}

// forbidden ends a test for which the system gives no namespaces. Where
// everything must be tested that is a failure.
func forbidden(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// loopbackUp starts lo, with multicast, which it has not by itself.
func loopbackUp(t *testing.T) {
	t.Helper()
	err := interfaceCall("lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK | unix.IFF_MULTICAST)
		return nil
	})
	if errors.Is(err, unix.EPERM) {
		forbidden(t, "rights over an own network namespace: %v", err)
	}
	if err != nil {
		t.Fatalf("lo: %v", err)
	}
}

// address gives lo a further address under a label such as lo:1.
func address(t *testing.T, label string, a netip.Addr) {
	t.Helper()
	for _, call := range []struct {
		number uint
		value  netip.Addr
	}{{unix.SIOCSIFADDR, a}, {unix.SIOCSIFNETMASK, netip.AddrFrom4([4]byte{255, 255, 255, 255})}} {
		err := interfaceCall(label, call.number, func(r *unix.Ifreq) error { return r.SetInet4Addr(call.value.AsSlice()) })
		if err != nil {
			t.Fatalf("%s %v: %v", label, call.value, err)
		}
	}
}

func interfaceCall(name string, number uint, fill func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := fill(r); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, number, r)
}

// defaultRoute makes a the gateway, though it is in no subnet of lo. It must not
// be an address of this network yet.
func defaultRoute(t *testing.T, a netip.Addr) {
	t.Helper()
	const loopback = 1 // lo is the first interface of every network
	ne := binary.NativeEndian
	m := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg, 64)
	ne.PutUint16(m[4:], unix.RTM_NEWROUTE)
	ne.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	r := m[unix.SizeofNlMsghdr:]
	r[0], r[4], r[5], r[7] = unix.AF_INET, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	ne.PutUint32(r[8:], unix.RTNH_F_ONLINK)
	attribute := func(kind uint16, value []byte) {
		m = ne.AppendUint16(m, uint16(4+len(value)))
		m = append(ne.AppendUint16(m, kind), value...)
	}
	attribute(unix.RTA_GATEWAY, a.AsSlice())
	attribute(unix.RTA_OIF, ne.AppendUint32(nil, loopback))
	ne.PutUint32(m, uint32(len(m)))
	if err := netlink(m); err != nil {
		t.Fatalf("default route: %v", err)
	}
}

// netlink sends a request and waits for the kernel's answer.
func netlink(m []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// withoutIPv6 makes the process one on a kernel that was started without IPv6:
// it gets no socket of that family.
func withoutIPv6(t *testing.T) {
	t.Helper()
	const number, firstArgument = 0, 16 // offsets in struct seccomp_data
	family := uint32(firstArgument)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		family += 4
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_SOCKET},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: family},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.AF_INET6},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatalf("no new privileges: %v", err)
	}
	_, _, code := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if code != 0 {
		forbidden(t, "seccomp: %v", code)
	}
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Fatalf("an IPv6 socket: got %d, %v, want none", fd, err)
	}
}
