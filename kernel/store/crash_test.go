package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// childEnv makes the test binary a child process of one kind, in childDir.
const (
	childEnv = "STRATA_STORE_CHILD"
	childDir = "STRATA_STORE_DIR"
)

// children are the kinds of child processes, and what they do in their folder.
var children = map[string]func(dir string){"commit": commitForever}

func TestMain(m *testing.M) {
	if run, isChild := children[os.Getenv(childEnv)]; isChild {
		run(os.Getenv(childDir))
		return
	}
	os.Exit(m.Run())
}

func child(kind, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+kind, childDir+"="+dir)
	c.Stderr = os.Stderr
	return c
}

// writers is how many goroutines of the child commit at the same time.
const writers = 3

// commitForever commits ever higher numbers and says so when they are durable.
func commitForever(dir string) {
	s, err := Open(dir, Options{Key: FileKey()})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	// Checkpoints often, to be killed in some.
	s.db.conn.Exec("PRAGMA wal_autocheckpoint = 20")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			n := s.Namespace(fmt.Sprint("w", w))
			first := 0
			if value, found, _ := n.Get("a"); found {
				fmt.Sscan(string(value), &first)
			}
			for i := first + 1; ; i++ {
				if err := n.Commit(numbered(i)); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				os.Stdout.WriteString(fmt.Sprintln("done", w, i))
			}
		})
	}
	wg.Wait()
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acknowledged [writers]int
	for round := range 12 {
		c := child("commit", dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		kill, lines := 1+rand.IntN(150), 0
		for in := bufio.NewScanner(out); in.Scan(); {
			if lines++; lines == kill {
				c.Process.Kill()
			}
			var w, i int
			if _, err := fmt.Sscanf(in.Text(), "done %d %d", &w, &i); err != nil {
				t.Fatalf("round %d: the child says %q", round, in.Text())
			}
			acknowledged[w] = i
		}
		if err := c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d: the child was not killed: %v", round, err)
		}
		s := opened(t, dir, Options{})
		for w, want := range acknowledged {
			n := s.Namespace(fmt.Sprint("w", w))
			a, _, errA := n.Get("a")
			b, _, errB := n.Get("b")
			got := 0
			fmt.Sscan(string(a), &got)
			if string(a) != string(b) || errA != nil || errB != nil || got < want || got > want+1 {
				t.Errorf("round %d: %d was acknowledged, there are %s and %s, %v, %v", round, want, a, b, errA, errB)
			}
			acknowledged[w] = got // the writer goes on from there, and may be killed before it says anything
		}
		closed(t, s)
	}
}
