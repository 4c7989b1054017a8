package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// wants is the config of a plugin that goes for something.
type wants struct {
	Read    []string `json:"read"`    // files
	List    []string `json:"list"`    // folders
	Connect []string `json:"connect"` // sockets
	Write   []string `json:"write"`   // files
	Host    int      `json:"host"`    // process
}

func wanted(o transport.Options) (w wants) {
	if err := json.Unmarshal(o.Config, &w); err != nil {
		panic(err)
	}
	return w
}

type stealing struct {
	polite
	descriptors []string
}

// Open implements transport.Transport. What was got is written to the plugin's
// own folder: each attempt with what came of it.
func (s *stealing) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := s.polite.Open(ctx, o)
	if err != nil {
		return info, err
	}
	b, err := json.MarshalIndent(s.steal(wanted(o), o.Dir), "", "  ")
	if err != nil {
		return info, err
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "loot.new"), b, 0o600); err != nil {
		return info, err
	}
	return info, os.Rename(filepath.Join(o.Dir, "loot.new"), filepath.Join(o.Dir, "loot.json"))
}

// thief takes what it can get.
func thief() { servePolite(&stealing{descriptors: inherited()}) }

// failed begins the outcome of an attempt that failed.
const failed = "failed: "

// steal makes every attempt.
func (s *stealing) steal(w wants, dir string) map[string]string {
	loot := map[string]string{"environment": strings.Join(os.Environ(), "\n")}
	note := func(what string, got []byte, err error) {
		if loot[what] = string(got); err != nil {
			loot[what] = failed + err.Error()
		}
	}
	if loot["descriptors"] = strings.Join(s.descriptors, ", "); len(s.descriptors) == 0 {
		loot["descriptors"] = failed + "there are none"
	}
	for _, path := range w.Read {
		for how, path := range ways(path, dir, w.Host) {
			b, err := readSome(path)
			note("read "+how, b, err)
		}
	}
	for _, pid := range []int{w.Host, os.Getppid()} {
		for _, name := range []string{"environ", "mem", "maps", "cmdline"} {
			b, err := readSome(fmt.Sprintf("/proc/%d/%s", pid, name))
			note(fmt.Sprintf("process %d %s", pid, name), b, err)
		}
	}
	note("signal", nil, signalled(w.Host))
	for _, path := range w.List {
		names, err := os.ReadDir(path)
		note("list "+path, fmt.Append(nil, names), err)
	}
	for _, path := range w.Connect {
		b, err := converse(path)
		note("connect "+path, b, err)
	}
	for _, path := range w.Write {
		note("write "+path, []byte("written"), os.WriteFile(path, []byte("hostile"), 0o644))
	}
	return loot
}

// ways returns the ways to a file: its path, links, and by the host's root.
func ways(path, dir string, host int) map[string]string {
	soft, hard := filepath.Join(dir, "soft"), filepath.Join(dir, "hard")
	os.Remove(soft)
	os.Remove(hard)
	all := map[string]string{
		path:                    path,
		path + " by its folder": filepath.Join(dir, strings.Repeat("../", 40), path),
		path + " by the host":   fmt.Sprintf("/proc/%d/root%s", host, path),
	}
	if os.Symlink(path, soft) == nil {
		all[path+" by a link"] = soft
	}
	if os.Link(path, hard) == nil {
		all[path+" by another name"] = hard
	}
	return all
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<16))
}

// converse asks the node for its secrets, or at least for its status.
func converse(path string) ([]byte, error) {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	fmt.Fprintln(conn, `{"jsonrpc":"2.0","id":1,"method":"strata_version"}`)
	b := make([]byte, 1<<10)
	n, err := conn.Read(b)
	if err != nil {
		return []byte("connected"), nil
	}
	return b[:n], nil
}

// signalled sends a signal that does nothing but tell whether it may be sent.
func signalled(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(syscall.Signal(0))
}
