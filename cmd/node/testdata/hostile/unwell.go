package main

import (
	"context"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// unwell does all that it is asked to do, but never says again that it is well.
func unwell() {
	r := newRaw(func(*rawPipe) error { return nil })
	serveServer(r, grpc.UnaryInterceptor(func(ctx context.Context, q any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		select {
		case <-r.ready:
			if call.FullMethod == healthpb.Health_Check_FullMethodName {
				select {}
			}
		default:
		}
		return handle(ctx, q)
	}))
}
