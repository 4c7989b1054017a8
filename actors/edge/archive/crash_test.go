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
	"time"

	"github.com/stratanode/strata/layers/transport"
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

// everyHalfMinute is what another server has from since until now: an envelope
// for each half minute since 1970.
func everyHalfMinute(since, until time.Time) (list []transport.Envelope) {
	for n := (since.Unix() + 29) / 30; n*30 <= until.Unix(); n++ {
		list = append(list, sentAt(time.Unix(n*30, 0), int(n)))
	}
	return list
}

// syncForever takes over from such a server, and says how far back it asks each
// time, and when it has everything.
func syncForever(dir string) {
	n := linked(dir, func(c *Config) { c.SyncWindow = 12 * time.Hour }, func(n *link, q transport.Query) {
		os.Stdout.WriteString(fmt.Sprintln("asked", q.From.Unix(), n.source().Until.Unix()))
		honest(&elsewhere{list: everyHalfMinute(q.From, q.To)})(n, q)
	})
	if err := n.archive.Open(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for range time.Tick(5 * time.Millisecond) {
		if n.caughtUp() {
			fmt.Println(hasEverything)
			select {} // until it is killed
		}
	}
}

const hasEverything = "has everything"

func TestKilledProcessSkipsNothingOfAnotherServer(t *testing.T) {
	dir := t.TempDir()
	var since int64
	for round := range 6 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childEnv+"="+dir, childSyncEnv+"=1")
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		kill, lines := 1+rand.IntN(5), 0
		for in := bufio.NewScanner(out); in.Scan(); {
			if in.Text() == hasEverything {
				c.Process.Kill()
				continue
			}
			var from, until int64
			if _, err := fmt.Sscanf(in.Text(), "asked %d %d", &from, &until); err != nil {
				t.Fatalf("round %d: the child says %q", round, in.Text())
			}
			if since == 0 {
				since = until // the first mark
			}
			lines++
			if round < 5 && lines == kill { // in the last round it has everything
				c.Process.Kill()
			}
		}
		if c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d: the child was not killed", round)
		}
		checkMark(t, dir, time.Unix(since, 0))
	}
}

// checkMark fails unless everything up to the mark is there.
func checkMark(t *testing.T, dir string, since time.Time) {
	t.Helper()
	s := opened(t, DefaultConfig(), dir)
	defer s.Close()
	until, has, err := s.Until(t.Context(), idN(0))
	if err != nil || !has {
		t.Fatalf("no mark: %v", err)
	}
	here := map[Key]bool{}
	for _, k := range everything(t, s, Search{To: math.MaxUint32, Limit: 1000, Budget: 1 << 20}) {
		here[k] = true
	}
	for _, e := range everyHalfMinute(since.Add(time.Second), moment(until)) { // the first mark says nothing of its own second
		if !here[keyOf(seconds(e.Sent), e.Hash)] {
			t.Errorf("the mark is %v, but the envelope of %v is not there", moment(until), e.Sent.UTC())
		}
	}
	clean(t, s)
}
