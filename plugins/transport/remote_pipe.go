package transport

import (
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	pb "google.golang.org/protobuf/proto"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// startPipe opens the Pipe and gives the plugin its first credits.
func (r *Remote) startPipe(info Info) error {
	options := append([]grpc.CallOption{grpc.ForceCodecV2(pipeCodec{encoding.GetCodecV2(proto.Name)})}, r.options...)
	stream, err := r.conn.NewStream(r.ctx, &transportpb.Transport_ServiceDesc.Streams[0],
		transportpb.Transport_Pipe_FullMethodName, options...)
	if err != nil {
		return r.failed(r.ctx, "Pipe", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if r.state == closing {
		return errNotOpen
	}
	r.info, r.state = info, opened
	r.grant = window(info.MaxData)
	r.loops.Go(func() { r.read(stream) })
	r.loops.Go(func() { r.write(stream) })
	return nil
}

// pipeCodec leaves the decoding of what the plugin sends to the Remote, which
// looks at the frame before it allocates anything for it, and which can tell a
// malformed frame from a broken connection.
type pipeCodec struct{ encoding.CodecV2 }

func (c pipeCodec) Unmarshal(data mem.BufferSlice, v any) error {
	raw := v.(*rawFrame)
	n := data.Len() // is there already, and at most maxMessage
	*raw = slices.Grow((*raw)[:0], n)[:n]
	data.CopyTo(*raw)
	return nil
}

// rawFrame is used again for every frame: what is kept of one is copied.
type rawFrame []byte

func (r *Remote) read(stream grpc.ClientStream) {
	var raw rawFrame
	for {
		if err := stream.RecvMsg(&raw); err != nil {
			r.ended(err)
			return
		}
		if err := r.frame(raw); err != nil {
			r.fail(err)
			return
		}
	}
}

// ended breaks the Remote because the Pipe has.
func (r *Remote) ended(err error) {
	r.mu.Lock()
	expected := r.state == closing
	r.mu.Unlock()
	if expected { // Close says what became of it
		return
	}
	if errors.Is(err, io.EOF) {
		r.fail(&Error{CodeUnavailable, "Pipe", "the plugin's pipe ended"})
		return
	}
	s := status.Convert(err)
	text := r.clean(s.Message(), MaxText)
	switch s.Code() {
	case codes.ResourceExhausted:
		r.fail(breach(RuleFrameSize, "Pipe: %s", text))
	case codes.Unimplemented:
		r.fail(breach(RuleCallMissing, "Pipe: %s", text))
	default:
		r.fail(&Error{CodeUnavailable, "Pipe", Clean("the plugin's pipe ended: "+text, MaxText)})
	}
}

// frame acts on a frame of the plugin; any error is a *Breach.
func (r *Remote) frame(data []byte) error {
	if len(data) > maxMessage {
		return breach(RuleFrameSize, "%d bytes", len(data))
	}
	n, ok := parts(data)
	if !ok {
		return breach(RuleFrameMalformed, "not a PluginFrame")
	} else if n > maxInFlight { // the most that any frame can truthfully have
		return breach(RuleFrameMalformed, "more than %d parts in one frame", maxInFlight)
	}
	var frame transportpb.PluginFrame
	if err := pb.Unmarshal(data, &frame); err != nil {
		return breach(RuleFrameMalformed, "not a PluginFrame")
	}
	switch f := frame.Frame.(type) {
	case *transportpb.PluginFrame_Received:
		return r.arrived(f.Received.GetEnvelopes())
	case *transportpb.PluginFrame_Results:
		return r.settle(f.Results.GetResults())
	case *transportpb.PluginFrame_Peers:
		r.counted(f.Peers.GetCount())
		return r.idle()
	case *transportpb.PluginFrame_Credit:
		r.credited(f.Credit.GetEnvelopes())
		return r.idle()
	case *transportpb.PluginFrame_Receipts:
		if r.version >= Version2 {
			r.confirmed(f.Receipts.GetReceipts())
			return r.idle()
		}
	}
	return breach(RuleFrameUnknown, "no field of version %d", r.version)
}

const (
	// maxIdle is how many frames in idlePeriod may carry and answer nothing. A
	// plugin needs a few when its peers change.
	maxIdle    = 10_000
	idlePeriod = 10 * time.Second
)

// idle counts a frame that costs the plugin no credit. useful makes up for it.
func (r *Remote) idle() error {
	if r.idles++; r.idles <= maxIdle {
		return nil
	}
	if now := time.Now(); now.Sub(r.idleSince) >= idlePeriod {
		r.idleSince, r.idles = now, 0
		return nil
	}
	return breach(RuleFrameFlood, "more than %d frames that carry nothing in %v", maxIdle, idlePeriod)
}

// useful allows for n more idle frames: a plugin may send the credit and the
// receipt of each envelope in a frame of its own.
func (r *Remote) useful(n int) { r.idles = max(r.idles-n, 0) }

// parts counts the messages within the messages of a frame, without decoding
// them: 1 MiB of empty envelopes would become 60 MiB.
func parts(data []byte) (int, bool) {
	count := 0
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return 0, false
		}
		data = data[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
				return 0, false
			}
			data = data[n:]
			continue
		}
		inner, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return 0, false
		}
		data = data[n:]
		for len(inner) > 0 {
			_, _, n := protowire.ConsumeField(inner)
			if n < 0 {
				return 0, false
			}
			inner = inner[n:]
			count++
		}
	}
	return count, true
}

// credited lets the writer send more.
func (r *Remote) credited(n uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.credits += uint64(n)
	if r.credits > maxCredits {
		r.counts.credits.Add(r.credits - maxCredits)
		r.credits = maxCredits
	}
	nudge(r.wake)
}

// write sends what there is at once, and gathers into one frame what came while
// the frame before was sent.
func (r *Remote) write(stream grpc.ClientStream) {
	for {
		batch, grant := r.outgoing()
		if grant > 0 && !r.send(stream, &transportpb.HostFrame{Frame: &transportpb.HostFrame_Credit{
			Credit: &transportpb.Credit{Envelopes: uint32(grant)},
		}}) {
			return
		}
		if len(batch) > 0 && !r.send(stream, &transportpb.HostFrame{Frame: &transportpb.HostFrame_Publish{
			Publish: toBatch(batch, r.version),
		}}) {
			return
		}
		if grant > 0 || len(batch) > 0 {
			continue
		}
		select {
		case <-r.broken:
			return
		case <-r.wake:
		}
	}
}

// send reports whether the Pipe still stands. Why not is for the reader to find
// out: the error of a send says nothing.
func (r *Remote) send(stream grpc.ClientStream, f *transportpb.HostFrame) bool {
	return stream.SendMsg(f) == nil
}

func (r *Remote) outgoing() (batch []Envelope, grant int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, 0
	}
	grant, r.grant = r.grant, 0
	r.held += grant
	return r.take(), grant
}
