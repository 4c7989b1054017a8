package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers/payload"
)

// How a victim is told what to do.
const (
	victimDirEnv    = "STRATA_TEST_DIR"    // its data folder
	victimConfigEnv = "STRATA_TEST_CONFIG" // its configuration file
	victimCommitEnv = "STRATA_TEST_COMMIT" // the number of the commit it ends at
	victimAfterEnv  = "STRATA_TEST_AFTER"  // set: behind that commit instead of before it
)

// exitCrashed is the exit code of a victim that ended where it should.
const exitCrashed = 3

// victimsAtOnce is how many run at the same time: they wait most of the time.
const victimsAtOnce = 8

// runVictim is a node that ends, as by a power cut, at one commit of its layers.
// It says when it is up, and stops in order when its standard input ends.
func runVictim() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	cfg, err := (&fileFlags{files: []string{os.Getenv(victimConfigEnv)}, dataDir: os.Getenv(victimDirEnv)}).load()
	if err != nil {
		fail(err)
	}
	last, err := strconv.ParseInt(os.Getenv(victimCommitEnv), 10, 64)
	if err != nil {
		fail(err)
	}
	after := os.Getenv(victimAfterEnv) != ""
	var commits atomic.Int64
	n, err := boot(cfg, store.FileKey(), slog.New(slog.NewTextHandler(io.Discard, nil)), bootOptions{
		wrap: func(s actors.Store) actors.Store {
			return faultyStore{s, func(commit func() error) error {
				due := commits.Add(1) == last
				if due && !after {
					os.Exit(exitCrashed)
				}
				err := commit()
				if due {
					os.Exit(exitCrashed)
				}
				return err
			}}
		},
	})
	if err != nil {
		fail(err)
	}
	fmt.Println("up")
	_, _ = io.Copy(io.Discard, os.Stdin)
	n.close()
	fmt.Println(commits.Load())
	os.Exit(exitOK)
}

// victim is alice: at first a process that ends at a commit, then a node in this
// process that has her data folder.
type victim struct {
	dir   string
	api   *rpc.Client
	cmd   *exec.Cmd // nil: the process has ended
	stdin io.Closer
	out   *bufio.Reader
	again *party
}

func startVictim(ctx context.Context, dir, config string, commit int, after bool) (*victim, error) {
	v := &victim{dir: dir, cmd: exec.CommandContext(ctx, os.Args[0])}
	v.cmd.Env = append(os.Environ(), actEnv+"="+actAsVictim, victimDirEnv+"="+dir, victimConfigEnv+"="+config,
		victimCommitEnv+"="+strconv.Itoa(commit))
	if after {
		v.cmd.Env = append(v.cmd.Env, victimAfterEnv+"=1")
	}
	v.cmd.SysProcAttr = diesWithParent()
	v.cmd.Stderr = os.Stderr
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := v.out.ReadString('\n'); err != nil || line != "up\n" {
		return v, v.revive() // it was not to come up
	}
	if v.api, err = rpc.Dial(ctx, filepath.Join(dir, rpc.SocketName)); err != nil {
		return v, v.revive()
	}
	return v, nil
}

// revive waits for the end of the process, which must be the one it was told,
// and starts the node without a fault.
func (v *victim) revive() error {
	if v.api != nil {
		v.api.Close()
		v.api = nil
	}
	v.stdin.Close()
	_, _ = io.Copy(io.Discard, v.out)
	err := v.cmd.Wait()
	code := v.cmd.ProcessState.ExitCode()
	v.cmd = nil
	if code != exitCrashed {
		return fmt.Errorf("alice ended with %d: %w", code, err)
	}
	cfg, err := (&fileFlags{files: []string{v.config()}, dataDir: v.dir}).load()
	if err != nil {
		return err
	}
	if v.again, err = bootParty(cfg, store.FileKey(), bootOptions{}); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	v.api = v.again.api
	return nil
}

func (v *victim) config() string { return v.dir + ".yaml" }

// finish stops the process in order. It returns how many commits there were, or
// revives it if it ended at its commit just now.
func (v *victim) finish() (commits int, err error) {
	v.stdin.Close()
	rest, err := io.ReadAll(v.out)
	if err != nil {
		return 0, err
	}
	if commits, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
		return 0, v.revive()
	}
	v.api.Close()
	v.api = nil
	err = v.cmd.Wait()
	v.cmd = nil
	return commits, err
}

// end leaves nothing of alice.
func (v *victim) end() {
	if v.cmd != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
	}
	if v.again != nil {
		v.again.stop()
	} else if v.api != nil {
		v.api.Close()
	}
}

// do calls f with alice's API. If she ends meanwhile it is called once more,
// with retry set, after her restart.
func (v *victim) do(f func(api *rpc.Client, retry bool) error) error {
	err := f(v.api, false)
	if err == nil || v.cmd == nil || !errors.Is(err, rpc.ErrGone) {
		return err
	}
	if err := v.revive(); err != nil {
		return err
	}
	return f(v.api, true)
}

// say has alice say a text once, whatever becomes of the call.
func (v *victim) say(ctx context.Context, chat payload.ChatID, text string) error {
	return v.do(func(api *rpc.Client, retry bool) error {
		if retry {
			if m, err := find(ctx, api, chat, text); err != nil || len(m) > 0 {
				return err
			}
		}
		_, err := api.Say(ctx, chat, text)
		return err
	})
}

// find returns the messages with a text, own or not. A chat that is not there
// yet has none.
func find(ctx context.Context, api *rpc.Client, chat payload.ChatID, text string) ([]payload.Message, error) {
	page, err := api.History(ctx, rpc.Query{Chat: chat, Limit: 1000})
	if errors.Is(err, rpc.ErrRefused) {
		return nil, nil
	}
	return slices.DeleteFunc(page.Messages, func(m payload.Message) bool { return m.Text != text }), err
}

// reaches waits until a message is in a chat with at least a status.
func reaches(ctx context.Context, api *rpc.Client, chat payload.ChatID, text string, least payload.Status) error {
	return await(ctx, fmt.Sprintf("%q to be %v", text, least), func() (bool, error) {
		found, err := find(ctx, api, chat, text)
		return len(found) > 0 && found[0].Status >= least, err
	})
}

// meanwhile waits for something at bob while alice is watched: she must not stay
// dead.
func (v *victim) meanwhile(ctx context.Context, what string, cond func() bool) error {
	return await(ctx, what+" at bob", func() (bool, error) {
		return cond(), v.do(func(api *rpc.Client, _ bool) error { _, err := api.Version(ctx); return err })
	})
}
