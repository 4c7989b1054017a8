package main

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// raw is a plugin that speaks gRPC by itself, to send what transport.Serve
// would not.
type raw struct {
	transportpb.UnimplementedTransportServer
	info *transportpb.Info
	// attack is called with the Pipe once there are topics.
	attack func(p *rawPipe) error
	answer bool // the attack answers what is published, or does not

	once   sync.Once
	ready  chan struct{}
	topics []byte
}

// rawPipe is the Pipe of a raw plugin.
type rawPipe struct {
	transportpb.Transport_PipeServer
	topic   []byte
	credits chan int                     // what the host grants
	batches chan []*transportpb.Envelope // what the host publishes, if the attack answers it
	sending sync.Mutex
}

// Send implements transportpb.Transport_PipeServer.
func (p *rawPipe) Send(f *transportpb.PluginFrame) error { return p.SendMsg(f) }

// SendMsg implements grpc.ServerStream.
func (p *rawPipe) SendMsg(m any) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.Transport_PipeServer.SendMsg(m)
}

func rawInfo() *transportpb.Info {
	return &transportpb.Info{
		Name: "hostile", Version: "1", MaxData: maxData, MaxTtl: uint32(maxTTL / time.Second), LatencyMs: 1000,
		Receipts: true,
	}
}

// serveRaw serves a plugin with an attack on its Pipe.
func serveRaw(attack func(p *rawPipe) error) { serveServer(newRaw(attack)) }

// serveAnswering is serveRaw for an attack that answers what is published.
func serveAnswering(attack func(p *rawPipe) error) {
	r := newRaw(attack)
	r.answer = true
	serveServer(r)
}

func newRaw(attack func(p *rawPipe) error) *raw {
	return &raw{info: rawInfo(), attack: attack, ready: make(chan struct{})}
}

func serveServer(s transportpb.TransportServer, more ...grpc.ServerOption) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  transport.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{transport.Version2: {transport.Name: rawGlue{server: s}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			o = append(o, more...)
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(math.MaxInt32), grpc.ForceServerCodecV2(rawCodec()))...)
		},
	})
}

type rawGlue struct {
	plugin.NetRPCUnsupportedPlugin
	server transportpb.TransportServer
}

// GRPCServer implements plugin.GRPCPlugin.
func (g rawGlue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	transportpb.RegisterTransportServer(s, g.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (rawGlue) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

// Open implements the RPC.
func (r *raw) Open(context.Context, *transportpb.OpenRequest) (*transportpb.OpenReply, error) {
	return &transportpb.OpenReply{Info: r.info}, nil
}

// Subscribe implements the RPC.
func (r *raw) Subscribe(_ context.Context, q *transportpb.SubscribeRequest) (*transportpb.SubscribeReply, error) {
	if len(q.Topics) > 0 {
		r.once.Do(func() {
			r.topics = q.Topics[:4]
			close(r.ready)
		})
	}
	return &transportpb.SubscribeReply{}, nil
}

// Close implements the RPC.
func (r *raw) Close(context.Context, *transportpb.CloseRequest) (*transportpb.CloseReply, error) {
	return &transportpb.CloseReply{}, nil
}

// Pipe implements the RPC: it greets as a good plugin does, and then attacks.
func (r *raw) Pipe(stream transportpb.Transport_PipeServer) error {
	p := &rawPipe{
		Transport_PipeServer: stream,
		credits:              make(chan int, 1<<16), batches: make(chan []*transportpb.Envelope, 1<<16),
	}
	go p.read(r.answer)
	greetings := []*transportpb.PluginFrame{
		{Frame: &transportpb.PluginFrame_Peers{Peers: &transportpb.PeerCount{Count: 1}}},
		{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: 1024}}},
	}
	for _, f := range greetings {
		if err := p.Send(f); err != nil {
			return err
		}
	}
	select {
	case <-r.ready:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	p.topic = r.topics
	if err := r.attack(p); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// read takes what the host sends, until the Pipe ends.
func (p *rawPipe) read(keep bool) {
	for {
		frame, err := p.Recv()
		if err != nil {
			return
		}
		if c := frame.GetCredit(); c != nil {
			p.credits <- int(c.Envelopes)
		}
		if b := frame.GetPublish(); b != nil && keep {
			p.batches <- b.Envelopes
		} else if b != nil && p.oblige(b.Envelopes) != nil {
			return
		}
	}
}

// oblige takes what is published, as a good plugin does.
func (p *rawPipe) oblige(es []*transportpb.Envelope) error {
	var all []*transportpb.Result
	for _, e := range es {
		all = append(all, &transportpb.Result{Id: e.Id})
	}
	if err := p.result(all...); err != nil {
		return err
	}
	return p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Credit{Credit: &transportpb.Credit{Envelopes: uint32(len(es))}}})
}

// report sends envelopes, whether or not there are credits.
func (p *rawPipe) report(es ...*transportpb.Envelope) error {
	return p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Received{
		Received: &transportpb.Batch{Envelopes: es},
	}})
}

// envelope returns an envelope that is right in everything.
func (p *rawPipe) envelope() *transportpb.Envelope {
	e := fresh(transport.Topic(p.topic), 300)
	return &transportpb.Envelope{Topic: p.topic, Data: e.Data, Sent: e.Sent.Unix(), Ttl: 60}
}

// result sends answers to publications.
func (p *rawPipe) result(rs ...*transportpb.Result) error {
	return p.Send(&transportpb.PluginFrame{Frame: &transportpb.PluginFrame_Results{
		Results: &transportpb.Results{Results: rs},
	}})
}
