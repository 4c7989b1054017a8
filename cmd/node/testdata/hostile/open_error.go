package main

import (
	"context"
	"strings"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

type refusing struct{ *raw }

// Open implements the RPC.
func (refusing) Open(context.Context, *transportpb.OpenRequest) (*transportpb.OpenReply, error) {
	return &transportpb.OpenReply{Error: &transportpb.Error{
		Code: 1, Field: "field\x1b[2J\n", Reason: "nothing fits \x1b[31m\r\n" + strings.Repeat("and so on ", 100_000),
	}}, nil
}

// openError refuses to open, with a megabyte of reasons.
func openError() { serveServer(refusing{newRaw(nil)}) }
