package archive

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// archiveForever stores groups of envelopes in ever growing numbers, removes
// some, and says up to which number all are kept.
func archiveForever(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	ctx := context.Background()
	s, err := openSQLite(ctx, dir, 2)
	if err != nil {
		fail(err)
	}
	c, err := s.Contents(ctx)
	if err != nil {
		fail(err)
	}
	// Checkpoints often, to be killed in some.
	if err := s.writer.conn.Exec(`PRAGMA wal_autocheckpoint = 100`); err != nil {
		fail(err)
	}
	for n := c.Envelopes; ; {
		var rows []Row
		for range 1 + rand.IntN(100) {
			rows = append(rows, row(n, topicN(n), n))
			n++
		}
		if _, err := s.Insert(ctx, rows); err != nil {
			fail(err)
		}
		os.Stdout.WriteString(fmt.Sprintln("kept", n))
	}
}

func TestKilledProcessLosesNothingKept(t *testing.T) {
	dir := t.TempDir()
	for round := range 8 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childEnv+"="+dir)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		kill, lines, kept := 1+rand.IntN(60), 0, 0
		for in := bufio.NewScanner(out); in.Scan(); {
			if lines++; lines == kill {
				c.Process.Kill()
			}
			if _, err := fmt.Sscanf(in.Text(), "kept %d", &kept); err != nil {
				t.Fatalf("round %d: the child says %q", round, in.Text())
			}
		}
		if err := c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d: the child was not killed: %v", round, err)
		}
		s := opened(t, DefaultConfig(), dir)
		keys := everything(t, s, Search{To: math.MaxUint32, Limit: 1000, Budget: 1 << 20})
		if len(keys) < kept {
			t.Errorf("round %d: %d were kept, %d are there", round, kept, len(keys))
		}
		for i, k := range keys { // newest first
			if n := len(keys) - 1 - i; k != row(n, topicN(n), n).Key {
				t.Fatalf("round %d: envelope %d is not there", round, n)
			}
		}
		clean(t, s)
		s.Close()
	}
}
