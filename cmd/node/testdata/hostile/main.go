// Command hostile is a set of transport plugins that do what a plugin must not
// do. The first argument says which; the tests of the node show for each that it
// harms nobody. The second argument marks the processes of one test.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// plugins are the hostile plugins by name.
var plugins = map[string]func(){
	// Before the handshake.
	"chatty": chatty, "endless": endless, "wrong-line": wrongLine, "wrong-version": wrongVersion,
	"quitter": quitter, "silent": silent, "uncertified": uncertified, "elsewhere": elsewhere, "tcp": overTCP,
	"deaf-socket": deafSocket, "greedy-start": greedyStart,
	// At Open.
	"open-never": openNever, "open-error": openError, "open-panic": openPanic, "bad-info": badInfo,
	"bad-name": badName,
	// Calls.
	"mute": mute, "unwell": unwell, "late": late, "deaf": deaf, "crash-nth": crashNth, "panic-receive": panicReceive,
	"liar": liar, "busy": busy, "huge-errors": hugeErrors, "doubled-results": doubledResults, "unknown-results": unknownResults,
	// What is reported.
	"flood-envelopes": floodEnvelopes, "flood-peers": floodPeers, "flood-receipts": floodReceipts,
	"oversize-data": oversizeData, "oversize-frame": oversizeFrame, "bad-topic": badTopic, "no-data": noData,
	"absurd-times": absurdTimes, "foreign-topics": foreignTopics, "expired": expired, "future": future,
	"replay": replay, "echo": echo, "overdraw": overdraw, "absurd-credits": absurdCredits,
	"garbage-frame": garbageFrame, "many-parts": manyParts, "pipe-ends": pipeEnds, "stats": changingStats,
	// Output.
	"log-flood": logFlood, "log-line": logLine, "log-forged": logForged,
	// The machine.
	"hog": hog, "forks": forks, "stubborn": stubborn, "thief": thief, "killer": killer, "daemons": daemons,
	// None of them: for comparison.
	"polite": func() { servePolite(&polite{}) },
	"idle":   idle,
}

func main() {
	if len(os.Args) < 2 || plugins[os.Args[1]] == nil {
		var names []string
		for name := range plugins {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintln(os.Stderr, "hostile: the first argument is one of", strings.Join(names, ", "))
		os.Exit(2)
	}
	plugins[os.Args[1]]()
}

// forever waits until the process is killed.
func forever() { select {} }

// idle does nothing, without end, whatever it is asked to do.
func idle() {
	ignoreSignals()
	forever()
}
