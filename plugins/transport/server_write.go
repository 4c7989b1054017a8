package transport

import (
	"context"
	"math"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// write sends what there is at once, and gathers into one frame what came while
// the frame before was sent.
func (p *pipe) write(ctx context.Context, stream transportpb.Transport_PipeServer) error {
	var frames []*transportpb.PluginFrame
	for {
		frames = p.frames(frames[:0])
		for _, f := range frames {
			if err := stream.Send(f); err != nil {
				return err
			}
		}
		if len(frames) > 0 {
			nudge(p.written)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		}
	}
}

// frames appends what may be sent now, at most one frame of each kind.
func (p *pipe) frames(fs []*transportpb.PluginFrame) []*transportpb.PluginFrame {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := min(len(p.results), maxAnswers); n > 0 {
		results := p.results[:n:n]
		p.results = p.results[n:]
		fs = append(fs, &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Results{
			Results: &transportpb.Results{Results: results},
		}})
	}
	// A grant that nobody waits for is put off, so that there are not as many
	// credit frames as batches.
	if p.grant > 0 && (p.grant >= p.window/4 || p.held == 0) {
		fs = append(fs, &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{
			Credit: &transportpb.Credit{Envelopes: uint32(p.grant)},
		}})
		p.held += p.grant
		p.grant = 0
	}
	if n := fitting(p.out, p.credits); n > 0 {
		fs = append(fs, &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Received{
			Received: toBatch(p.out[:n], p.version),
		}})
		p.credits -= n
		clear(p.out[:n]) // do not hold on to the data
		if p.out = p.out[n:]; len(p.out) == 0 {
			p.out = nil
		}
	}
	if n := min(len(p.receipts), maxAnswers); n > 0 {
		receipts := p.receipts[:n:n]
		p.receipts = p.receipts[n:]
		fs = append(fs, &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Receipts{
			Receipts: &transportpb.Receipts{Receipts: receipts},
		}})
	}
	if p.peers != nil {
		fs = append(fs, &transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{
			Peers: &transportpb.PeerCount{Count: uint32(min(max(*p.peers, 0), math.MaxUint32))},
		}})
		p.peers = nil
	}
	return fs
}
