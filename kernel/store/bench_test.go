package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkFsync is what the disk takes for one small durable write, to compare
// the commits with.
func BenchmarkFsync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		f.WriteAt(block, int64(i%2000)*4096)
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkStore(b *testing.B) *Store {
	s, err := Open(filepath.Join(b.TempDir(), "data"), Options{Key: FileKey()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func batchOf(i, n int, secret bool) []Record {
	records := make([]Record, n)
	for j := range records {
		records[j] = Record{Key: fmt.Sprintf("message/%08d", (i*n+j)%100_000), Value: bytes.Repeat([]byte{byte(i)}, 200), Secret: secret}
	}
	return records
}

func BenchmarkCommit(b *testing.B) {
	for _, secret := range []bool{false, true} {
		for _, n := range []int{1, 3, 100} {
			b.Run(fmt.Sprintf("records=%d/secret=%v", n, secret), func(b *testing.B) {
				ns := benchmarkStore(b).Namespace("bench")
				for i := 0; b.Loop(); i++ {
					if err := ns.Commit(batchOf(i, n, secret)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkCommitTogether is eight goroutines that commit three records each.
func BenchmarkCommitTogether(b *testing.B) {
	s := benchmarkStore(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		ns := s.Namespace("bench")
		for i := 0; pb.Next(); i++ {
			if err := ns.Commit(batchOf(i, 3, false)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	for _, secret := range []bool{false, true} {
		b.Run(fmt.Sprintf("secret=%v", secret), func(b *testing.B) {
			ns := benchmarkStore(b).Namespace("bench")
			for i := range 100 {
				if err := ns.Commit(batchOf(i, 100, secret)); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				if _, found, err := ns.Get(fmt.Sprintf("message/%08d", i*7919%10_000)); !found || err != nil {
					b.Fatal(found, err)
				}
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	ns := benchmarkStore(b).Namespace("bench")
	for i := range 100 {
		if err := ns.Commit(batchOf(i, 100, false)); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for b.Loop() {
		for _, err := range ns.Scan("", "", false) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}

// BenchmarkOpen opens a store with 10,000 secret records to sum up; the
// passphrase is not part of it.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "data")
			s, err := Open(dir, Options{Key: FileKey()})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Namespace("bench").Commit(batchOf(0, n, true)); err != nil {
				b.Fatal(err)
			}
			s.Close()
			for b.Loop() {
				s, err := Open(dir, Options{Key: FileKey()})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.Close()
				b.StartTimer()
			}
		})
	}
}
