package main

import (
	"context"
	"fmt"
	"os"

	"github.com/stratanode/strata/plugins/transport"
)

type loud struct{ polite }

// Open implements transport.Transport.
func (l *loud) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := l.polite.Open(ctx, o)
	go func() {
		for i := 0; ; i++ {
			o.Log.Error("all is lost", "again", i)
			fmt.Fprintln(os.Stderr, "and once more", i)
			fmt.Println("by stdout", i)
		}
	}()
	return info, err
}

// logFlood logs without end.
func logFlood() { servePolite(&loud{}) }
