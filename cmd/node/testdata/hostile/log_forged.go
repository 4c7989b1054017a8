package main

import (
	"context"
	"fmt"
	"os"

	"github.com/stratanode/strata/plugins/transport"
)

type forger struct{ polite }

// Open implements transport.Transport.
func (f *forger) Open(ctx context.Context, o transport.Options) (transport.Info, error) {
	info, err := f.polite.Open(ctx, o)
	fmt.Fprint(os.Stderr, "\x1b[2J\x1b]0;owned\a\rforged by escapes\n")
	fmt.Fprint(os.Stderr, `{"time":"2030-01-01T00:00:00Z","level":"ERROR","msg":"forged by JSON"}`+"\n")
	fmt.Fprint(os.Stderr, "time=2030-01-01T00:00:00Z level=ERROR msg=\"forged by text\"\n")
	fmt.Fprint(os.Stderr, `{"@level":"error","@message":"forged by hclog\n{\"level\":\"ERROR\",\"msg\":\"forged\"}","plugin":"node","layer":"payload","time":1,"level":2,"msg":3,"\u001b[31m":"\u001b[32m","@level":"error"}`+"\n")
	fmt.Fprint(os.Stderr, `{"@level":7,"@message":[],"x":{}}`+"\n"+`{"@level":"error","@message":null}`+"\n{\n\x00\xff\xfe\n")
	o.Log.Error("forged by the log\n\x1b[31m{\"msg\":\"forged\"}", "plugin", "node", "a\x1b[31m", "\u202etxt.exe\x07")
	return info, err
}

// logForged logs what would pass for records of the node, or steer a terminal.
func logForged() { servePolite(&forger{}) }
