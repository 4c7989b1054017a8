package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tree is the processes of a plugin.
type tree struct {
	root   int
	sealed bool // in a namespace: all descend from root, and die with it

	mu       sync.Mutex
	known    map[int]uint64 // unless sealed: processes seen, with their start time
	released bool           // the numbers may be others' by now
}

// release ends what is left, after root was waited for.
func (t *tree) release() {
	t.kill()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.released = true
}

// usage returns what the processes take. One that ends meanwhile counts as
// nothing.
func (t *tree) usage() usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	var u usage
	if t.released {
		return u
	}
	for _, p := range t.processes() {
		u.processes++
		u.resident += p.resident
	}
	return u
}

// processes returns the living processes of the tree.
func (t *tree) processes() []process {
	if t.sealed {
		return descend(t.root, nil)
	}
	return t.search()
}

// kill ends all processes. It may be called when they are gone.
func (t *tree) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released {
		return
	}
	if t.sealed {
		if p, ok := readProcess(t.root); ok && p.parent == os.Getpid() {
			_ = syscall.Kill(t.root, syscall.SIGKILL)
		}
		return
	}
	t.stopAll()
	t.killAll()
}

// Rounds in which processes without a namespace are stopped and killed, and the
// pause in between. They are bounded, since what cannot be killed shall not
// hold up the host.
const (
	killRounds = 200
	killPause  = time.Millisecond
)

// stopAll stops the processes before they are killed: one that ends hands its
// children over to somebody else, and one that runs has new ones meanwhile. A
// signal takes effect some time after it was sent.
func (t *tree) stopAll() {
	for range killRounds {
		running := false
		for _, p := range t.search() {
			if !p.stopped {
				running = true
				_ = syscall.Kill(p.id, syscall.SIGSTOP)
			}
		}
		if !running {
			return
		}
		time.Sleep(killPause)
	}
}

// killAll kills them until they are gone.
func (t *tree) killAll() {
	for range killRounds {
		all := t.search()
		if len(all) == 0 {
			return
		}
		for _, p := range all {
			_ = syscall.Kill(p.id, syscall.SIGKILL)
		}
		time.Sleep(killPause)
	}
}

// descend appends the process id and its descendants to all, by the lists of
// children that the kernel keeps for each thread.
func descend(id int, all []process) []process {
	p, ok := readProcess(id)
	if !ok {
		return all
	}
	all = append(all, p)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", id))
	if err != nil {
		return all
	}
	for _, thread := range threads {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", id, thread.Name()))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(list)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = descend(child, all)
			}
		}
	}
	return all
}

// search looks for processes of the plugin among all: of its session, with a
// parent among them, or seen before.
func (t *tree) search() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(id); ok {
				all = append(all, p)
			}
		}
	}
	member := make(map[int]uint64)
	var found []process
	for more := true; more; {
		more = false
		for _, p := range all {
			_, parent := member[p.parent]
			known, before := t.known[p.id]
			ours := p.id == t.root && p.parent == os.Getpid() || p.session == t.root || parent || before && known == p.start
			if _, have := member[p.id]; ours && !have {
				member[p.id] = p.start
				found = append(found, p)
				more = true
			}
		}
	}
	t.known = member
	return found
}

// process is a line of /proc/ID/stat.
type process struct {
	id, parent, session int
	start               uint64 // ticks since boot
	resident            int64  // bytes
	stopped             bool
}

// readProcess reads about a process; ok is false if it is none or has ended.
func readProcess(id int) (p process, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return process{}, false
	}
	// The name, in parentheses, may contain anything.
	_, rest, ok := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(" "))
	fields := strings.Fields(string(rest))
	const state, parent, session, start, resident = 0, 1, 3, 19, 21
	if !ok || len(fields) <= resident || fields[state] == "Z" || fields[state] == "X" {
		return process{}, false
	}
	p.id = id
	p.stopped = fields[state] == "T"
	p.parent, _ = strconv.Atoi(fields[parent])
	p.session, _ = strconv.Atoi(fields[session])
	p.start, _ = strconv.ParseUint(fields[start], 10, 64)
	pages, _ := strconv.ParseInt(fields[resident], 10, 64)
	p.resident = pages * int64(os.Getpagesize())
	return p, true
}
