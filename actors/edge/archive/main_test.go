package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// childEnv makes the test binary a process that archives until it is killed;
// its value is the folder.
const childEnv = "STRATA_ARCHIVE_CHILD"

// childSyncEnv makes such a process take over from another server instead.
const childSyncEnv = "STRATA_ARCHIVE_CHILD_SYNC"

// atExit is what ends with the test binary.
var atExit []func()

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if os.Getenv(childSyncEnv) != "" {
			syncForever(dir)
		}
		archiveForever(dir)
	}
	code := m.Run()
	for _, f := range slices.Backward(atExit) {
		f()
	}
	stopPostgres()
	if code == 0 {
		// The actor system has a timer of a second that outlives it.
		err := goleak.Find()
		for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// backends are the two kinds of stores. open opens the same database again at
// every call.
func backends(t *testing.T, f func(t *testing.T, open func() Store)) {
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		f(t, func() Store { return opened(t, DefaultConfig(), dir) })
	})
	t.Run("postgres", func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Database = postgresURL(t)
		f(t, func() Store { return opened(t, cfg, "") })
	})
}

func opened(t testing.TB, cfg Config, dir string) Store {
	t.Helper()
	s, err := OpenStore(t.Context(), cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

var t0 = time.Unix(1_577_836_800, 0)

// sealed is a Whisper envelope of a topic, sent some seconds after t0; n makes
// it differ from others.
func sealed(after int, topic transport.Topic, n int) transport.Envelope {
	data := sha256.Sum256(fmt.Append(nil, "envelope ", n))
	return sealedData(after, topic, data[:])
}

func sealedData(after int, topic transport.Topic, data []byte) transport.Envelope {
	sent := uint32(t0.Unix() + int64(after))
	raw := whisper.EncodeEnvelope(whisper.Envelope{TTL: 15, Expiry: sent + 15, Topic: topic, Data: data})
	w, err := whisper.DecodeEnvelope(raw)
	if err != nil {
		panic(err)
	}
	return transport.Envelope{
		Hash: w.Hash, Topic: topic, Data: w.Data, Sent: time.Unix(int64(sent), 0), TTL: 15 * time.Second, Raw: raw,
	}
}

func row(after int, topic transport.Topic, n int) Row {
	e := sealed(after, topic, n)
	return rowOf(&e, e.Sent)
}

func topicN(n int) (t transport.Topic) {
	binary.BigEndian.PutUint32(t[:], uint32(n)*0x9e3779b1)
	return t
}

func insertAll(t testing.TB, s Store, rows ...Row) {
	t.Helper()
	if _, err := s.Insert(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

// everything searches page by page to the end.
func everything(t testing.TB, s Store, q Search) (keys []Key) {
	t.Helper()
	for pages := 0; ; pages++ {
		f, err := s.Search(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Keys) > q.Limit {
			t.Fatalf("%d keys, limit is %d", len(f.Keys), q.Limit)
		}
		keys = append(keys, f.Keys...)
		if f.Next == nil {
			return keys
		}
		if q.Before != nil && !f.Next.Less(*q.Before) || pages > 10_000 {
			t.Fatalf("cursor %x comes after %x", *f.Next, *q.Before)
		}
		q.Before = f.Next
	}
}

func clean(t testing.TB, s Store) Verified {
	t.Helper()
	v, err := s.Verify(t.Context(), func(int, int) {})
	if err != nil || !v.Clean() {
		t.Fatalf("verify: %+v, %v", v, err)
	}
	return v
}
