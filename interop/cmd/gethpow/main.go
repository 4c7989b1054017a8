//go:build unix

// Command gethpow measures the proof of work of go-ethereum v1.9.20: it seals
// envelopes with the released library and prints one JSON line, how many hashes
// it took and the CPU time of this process for them.
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
	"github.com/ethereum/go-ethereum/whisper/whisperv6"
)

const (
	ttl = 3600 // seconds
	// hashes is about how many an envelope takes. It is high enough that what is
	// done once for each envelope does not count.
	hashes = 1 << 14
	// workTime ends the search for a nonce, in seconds; none takes that long.
	workTime = 60
)

func main() {
	size := flag.Int("size", 300, "length of the RLP that is hashed, without the nonce, in bytes")
	lasts := flag.Duration("for", time.Second, "for how long")
	flag.Parse()
	e := whisperv6.Envelope{Expiry: uint32(time.Now().Unix()) + ttl, TTL: ttl, Topic: whisperv6.TopicType{1, 2, 3, 4}}
	for short(e) < *size {
		e.Data = make([]byte, len(e.Data)+max(1, *size-short(e)-8))
	}
	total := struct {
		Hashes uint64 `json:"hashes"`
		CPU    int64  `json:"cpu_ns"`
		Size   int    `json:"size"`
	}{Size: short(e)}
	target := float64(hashes) / float64(20+len(e.Data)) / ttl
	began := cpu()
	for end := time.Now().Add(*lasts); time.Now().Before(end); {
		_, _ = rand.Read(e.Data)
		e.Nonce = 0
		if err := e.Seal(&whisperv6.MessageParams{PoW: target, WorkTime: workTime, TTL: ttl}); err != nil {
			fmt.Fprintln(os.Stderr, "gethpow:", err)
			os.Exit(1)
		}
		total.Hashes += e.Nonce + 1
	}
	total.CPU = int64(cpu() - began)
	_ = json.NewEncoder(os.Stdout).Encode(total)
}

func short(e whisperv6.Envelope) int {
	b, _ := rlp.EncodeToBytes([]any{e.Expiry, e.TTL, e.Topic, e.Data})
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
