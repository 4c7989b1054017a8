package main

import "github.com/stratanode/strata/plugins/transport/transportpb"

// floodReceipts sends receipts for what it was never given. After 200 000 it has
// 2000 peers.
func floodReceipts() {
	serveRaw(func(p *rawPipe) error {
		id := uint64(1 << 40)
		for {
			var all []*transportpb.Receipt
			for range 1000 {
				id++
				all = append(all, &transportpb.Receipt{Id: id, Outcome: uint32(id % 7), Reason: "\x1b[31mbecause"})
			}
			err := p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Receipts{Receipts: &transportpb.Receipts{Receipts: all}}})
			if err != nil {
				return err
			}
			if id == 1<<40+200_000 {
				if err := p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 2000}}}); err != nil {
					return err
				}
			}
		}
	})
}
