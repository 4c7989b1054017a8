// Package host runs one transport plugin as a process, contains it, and talks
// to it as to any other transport.
//
// A plugin is a stranger's program. What it may do to envelopes is the contract
// of plugins/transport; this package is about what it may do to the machine.
//
// # Before it runs
//
// The program is opened once, its SHA-256 is taken through that descriptor, and
// the descriptor is what is executed: to exchange the file in between does not
// help, and to write to it is noticed. A script's interpreter is executed
// instead; the script, and what else is in Command.Pins, is copied, and the
// copy is checked and shown to the plugin. Without namespaces it reads the
// pinned files themselves, after they were checked.
//
// It has an environment of its own, /dev/null as input, two pipes as output,
// and no other descriptor of the host.
//
// # What it can reach, on Linux
//
// Start begins this very program once more, as a shim (see Shim), which gives
// up its rights and becomes the plugin:
//
//   - New namespaces of users, mounts, processes and System V IPC. Its root
//     folder contains the system's programs and libraries, a few files of /etc,
//     four devices, its own folder, the folder of its socket, and what it was
//     given to read. Nothing else has a path, no socket either. It is the first
//     process of its namespace, so that all its descendants end with it. It is
//     called root there and is the host's user to everybody else.
//   - Landlock allows the same files again, denies the abstract Unix sockets of
//     others (since version 6) and signals to them.
//   - A filter of system calls denies what attacks the kernel or other
//     processes, new namespaces, kinds of sockets other than of IP, Unix and
//     netlink, and memory that the watch would not see.
//   - No capabilities, no new privileges, no core files, 4096 descriptors,
//     files of at most 1 GiB.
//
// Process.Confinement says what is in force. On Command.Confine Best, a machine
// that refuses namespaces leaves Landlock and the filter: then sockets that
// have a path can be reached where the host's user may, and the descendants of
// a plugin outlive a host that is killed with SIGKILL, though not a plugin that
// is killed by the host. A machine without Landlock leaves the namespaces. On
// Required, both have to be in force or nothing starts.
//
// On other systems there is no confinement: a plugin can do what the user can.
//
// # While it runs
//
// Every 250 ms its resident memory and processes are counted; above the limits
// it is killed. In between a plugin can take as much as it gets hold of in that
// time; in the namespace the kernel bounds its threads too (for root since
// Linux 6.14). Memory that is in no process, as that of sockets and
// pipes, is not counted.
//
// When the host ends, however it ends, the kernel kills the plugin.
//
// What it prints is cleaned, cut, and logged at a bounded rate under its name;
// see Process.LastLog. gRPC messages are bounded, and go-plugin's broker, which
// would let a plugin start goroutines in the host, is not connected.
//
// # What is not contained
//
// A plugin may use the processor as it likes, fill the disk below its folder
// with files of up to 1 GiB, use the network, that of the machine itself and of
// its neighbours included, as any program of the user may (a service that
// trusts whoever connects to 127.0.0.1 trusts plugins), read world-wide facts
// such as the names of the system's programs, and observe by caches and timing
// what else the machine does. A fault in the kernel may let it out.
//
// A node should not run as root: where it does, the plugin's user is root too,
// without capabilities, and what Landlock and the namespaces hide is all that
// stands between it and root's files.
package host
