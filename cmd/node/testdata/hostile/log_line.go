package main

import (
	"bytes"
	"context"
	"os"

	"github.com/stratanode/strata/plugins/transport"
)

type longWinded struct{ polite }

// Open implements transport.Transport.
func (l *longWinded) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := l.polite.Open(ctx, o)
	go func() {
		for chunk := bytes.Repeat([]byte("and "), 1<<14); ; {
			os.Stderr.Write(chunk)
		}
	}()
	return info, err
}

// logLine logs one line without end.
func logLine() { servePolite(&longWinded{}) }
