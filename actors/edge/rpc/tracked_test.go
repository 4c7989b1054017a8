package rpc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientThatDoesNotListenIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newTracked(near, &listener{open: map[net.Conn]bool{}})
		var heard atomic.Int64
		read := make(chan error, 1)
		go func() {
			b := make([]byte, 1024)
			for {
				n, err := c.Read(b)
				heard.Add(int64(n))
				if err != nil {
					read <- err
					return
				}
			}
		}()
		said := make(chan error, 1)
		say := func(n int) {
			_, err := far.Write(bytes.Repeat([]byte{'x'}, n))
			said <- err
		}
		const much = maxAhead / 2
		go say(much)
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := heard.Load(); got != much {
			t.Errorf("%d bytes heard with nothing to be written, want %d", got, much)
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("answer"))
			wrote <- err
		}()
		synctest.Wait()
		go say(maxAhead)
		synctest.Wait()
		if got := heard.Load(); got < maxAhead || got > maxAhead+1024 {
			t.Errorf("%d bytes heard while an answer is not read, want %d", got, maxAhead)
		}
		answer := make([]byte, 6)
		if _, err := io.ReadFull(far, answer); err != nil || <-wrote != nil || <-said != nil {
			t.Fatalf("the answer %q: %v", answer, err)
		}
		synctest.Wait()
		if got := heard.Load(); got != much+maxAhead {
			t.Errorf("%d bytes heard when nothing is left to be written, want %d", got, much+maxAhead)
		}
		// An answer is room for as much and no more.
		c.mu.Lock()
		if want := much + maxAhead - len(answer); c.ahead != want {
			t.Errorf("%d bytes ahead, want %d", c.ahead, want)
		}
		c.mu.Unlock()
		// One that cannot be written ends the connection.
		if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("unread")); err == nil {
			t.Error("it was written to nobody")
		}
		if err := <-read; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("reading ended with %v", err)
		}
		far.Close()
	})
}

func TestClosedConnectionLetsItsReaderGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newTracked(near, &listener{open: map[net.Conn]bool{}})
		done := make(chan struct{}, 2)
		go func() { c.Write([]byte("answer")); done <- struct{}{} }()
		synctest.Wait()
		go func() { io.Copy(io.Discard, c); done <- struct{}{} }()
		go func() { far.Write(make([]byte, 2*maxAhead)); done <- struct{}{} }()
		synctest.Wait()
		c.Close()
		for range 3 {
			<-done
		}
	})
}
