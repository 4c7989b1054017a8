//go:build unix

// Command ourbench measures the proof of work of Strata in the way that gethpow
// measures go-ethereum's. It is a module of its own because it imports Strata
// and so another version of go-ethereum.
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport/whisper"
)

const (
	ttl    = 3600    // seconds
	hashes = 1 << 14 // of one envelope, about
	batch  = 1 << 12 // nonces that are tried before the clock is looked at
)

func main() {
	size := flag.Int("size", 300, "length of the RLP that is hashed, without the nonce, in bytes")
	lasts := flag.Duration("for", time.Second, "for how long")
	flag.Parse()
	d := whisper.Draft{Expiry: uint32(time.Now().Unix()) + ttl, TTL: ttl, Topic: [4]byte{1, 2, 3, 4}}
	for short(d) < *size {
		d.Data = make([]byte, len(d.Data)+max(1, *size-short(d)-8))
	}
	total := struct {
		Hashes uint64 `json:"hashes"`
		CPU    int64  `json:"cpu_ns"`
		Size   int    `json:"size"`
	}{Size: short(d)}
	target := float64(hashes) / float64(short(d)) / ttl
	began := cpu()
	for end := time.Now().Add(*lasts); time.Now().Before(end); {
		_, _ = rand.Read(d.Data)
		s := whisper.NewSearch(d, target)
		for from := uint64(0); ; from += batch {
			nonce, found := s.Try(from, batch)
			if !found {
				continue
			}
			if s.PoW(nonce) < target {
				fmt.Fprintln(os.Stderr, "ourbench: a nonce does not do what it should")
				os.Exit(1)
			}
			total.Hashes += nonce + 1
			break
		}
	}
	total.CPU = int64(cpu() - began)
	_ = json.NewEncoder(os.Stdout).Encode(total)
}

func short(d whisper.Draft) int {
	b, _ := rlp.EncodeToBytes([]any{d.Expiry, d.TTL, d.Topic, d.Data})
	return len(b)
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
