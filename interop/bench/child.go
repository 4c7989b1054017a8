package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
)

// bins are the programs, each built with the versions of its own go.mod, from
// the module that this program is run in.
type bins struct{ strata, geth, gethPoW, ourPoW string }

// linkerFlag is explained in README.md.
const linkerFlag = "-ldflags=-checklinkname=0"

// build builds the nodes. STRATA_BIN names a node of ours that is there already.
func build(dir string) (b bins, err error) {
	b = bins{filepath.Join(dir, "strata"), filepath.Join(dir, "gethpeer"), filepath.Join(dir, "gethpow"), filepath.Join(dir, "ourpow")}
	if given := os.Getenv("STRATA_BIN"); given != "" {
		b.strata = given
	} else if err := goBuild("..", b.strata, "./cmd/node"); err != nil {
		return b, err
	}
	return b, goBuild(".", b.geth, linkerFlag, "./cmd/gethpeer")
}

// buildPoW builds what only the rows about proof of work need.
func (b bins) buildPoW() error {
	if err := goBuild(".", b.gethPoW, linkerFlag, "./cmd/gethpow"); err != nil {
		return err
	}
	return goBuild("ourbench", b.ourPoW, ".")
}

func goBuild(dir, output string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", output}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %q in %s: %w\n%s", cmd.Args[1:], dir, err, out)
	}
	return nil
}

// side is one of the two implementations.
type side struct {
	name string
	ours bool
}

var (
	peer = side{name: "go-ethereum v1.9.20"}
	ours = side{name: "strata", ours: true}
)

// strataConfig is a relay with default limits. Proof of work is 0 on both sides:
// what is measured must not wait for the miner of this program.
const strataConfig = `data_dir: %s
log: {level: error}
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0", max_peers: 100, static_nodes: [%s]}}
  transport: {use: whisper, settings: {interest: everything, min_pow: 0, pow: 0}}
`

// node is one running child.
type node struct {
	side
	cmd   *exec.Cmd
	stdin io.Closer
	enode string
	rpc   *rpc.Client
}

// scene holds the children of one row of the table; they end with it.
type scene struct {
	ctx   context.Context
	bins  bins
	dir   string
	nodes []*node
	ends  []func()
}

func (s *scene) close() {
	for _, end := range s.ends {
		end()
	}
	for _, n := range s.nodes {
		n.end()
	}
	_ = os.RemoveAll(s.dir)
}

// start starts a node of one side that keeps links to the given ones. The
// environment is the same for both sides.
func (s *scene) start(side side, to []*node, env ...string) (*node, error) {
	dir, err := os.MkdirTemp(s.dir, "n")
	if err != nil {
		return nil, err
	}
	n := &node{side: side}
	if side.ours {
		var static []string
		for _, t := range to {
			static = append(static, strconv.Quote(t.enode))
		}
		file := filepath.Join(dir, "c.yaml")
		config := fmt.Sprintf(strataConfig, filepath.Join(dir, "d"), strings.Join(static, ", "))
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		n.cmd = exec.Command(s.bins.strata, "run", "--json", "-c", file)
	} else {
		n.cmd = exec.Command(s.bins.geth, "-dir", dir, "-min-pow", "0", "-verbosity", "0", "-max-peers", "100")
	}
	n.cmd.Env = append(os.Environ(), env...)
	n.cmd.SysProcAttr = diesWithParent()
	if err := n.run(s.ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", side.name, err)
	}
	s.nodes = append(s.nodes, n)
	if !side.ours {
		for _, t := range to {
			if err := n.call(nil, "admin_addPeer", t.enode); err != nil {
				return nil, err
			}
		}
	}
	return n, nil
}

func (n *node) run(ctx context.Context) (err error) {
	var stderr bytes.Buffer
	n.cmd.Stderr = &stderr
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	var intro struct{ Enode, IPC string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &intro)
	}
	if err == nil {
		n.enode = intro.Enode
		n.rpc, err = rpc.DialContext(ctx, intro.IPC)
	}
	if err != nil {
		n.end()
		return fmt.Errorf("did not come up: %w\n%s", err, stderr.Bytes())
	}
	return nil
}

func (n *node) end() {
	if n.rpc != nil {
		n.rpc.Close()
	}
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	_ = n.stdin.Close()
}

func (n *node) call(result any, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.rpc.CallContext(ctx, result, method, args...); err != nil {
		return fmt.Errorf("%s: %s: %w", n.name, method, err)
	}
	return nil
}

// links returns how many live links the node has.
func (n *node) links() (count int, err error) {
	if !n.ours {
		var peers []struct{}
		err = n.call(&peers, "admin_peers")
		return len(peers), err
	}
	var peers []struct {
		Connected bool `json:"connected"`
	}
	err = n.call(&peers, "strata_peers")
	for _, p := range peers {
		if p.Connected {
			count++
		}
	}
	return count, err
}

// cpu is the time that the process has used, to the nanosecond where the system
// counts so (schedstat), else to the tick.
func (n *node) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has just ended
		}
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	if sum == 0 {
		return 0, errors.New("the system does not count CPU time in /proc/PID/task/*/schedstat")
	}
	return sum, nil
}

// rss is the memory of the process that is in use, in bytes.
func (n *node) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/PID/statm: %q", b)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
