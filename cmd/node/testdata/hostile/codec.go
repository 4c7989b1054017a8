package main

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// bytesFrame is a frame of any bytes.
type bytesFrame []byte

// anyBytes is the usual codec, but for a bytesFrame.
type anyBytes struct{ encoding.CodecV2 }

func rawCodec() encoding.CodecV2 { return anyBytes{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c anyBytes) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(bytesFrame); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}
