package transport

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// Name is what a host dispenses from a plugin to get its *Remote.
const Name = "transport"

// The versions of the wire form. The newest is spoken if both sides can.
const (
	Version1 = 1 // without receipts, privacy and abilities
	Version2 = 2
)

// Handshake is the cookie by which a plugin knows that a node started it. It
// is no secret and protects nothing but from starting a plugin by hand.
var Handshake = plugin.HandshakeConfig{
	MagicCookieKey:   "STRATA_TRANSPORT",
	MagicCookieValue: "v1",
}

// Sizes and buffers of a connection.
const (
	// MaxFrame is the longest frame in a Pipe in bytes: one envelope of
	// MaxEnvelope with what stands around it.
	MaxFrame = MaxEnvelope + 64<<10

	// maxMessage is where gRPC refuses a message before it is read. A little
	// above MaxFrame, since not every implementation counts alike.
	maxMessage = MaxEnvelope + 128<<10

	// maxHeaders bounds the metadata of a call in bytes; there is none of ours.
	maxHeaders = 64 << 10

	// ioBuffer is that of a connection for each direction, in bytes: several
	// small frames a system call.
	ioBuffer = 128 << 10

	// flowWindow is that of HTTP/2, in bytes. Credits bound what is under way,
	// so it need only be large enough never to be the bound.
	flowWindow = 4 << 20
)

// HostPlugins returns the sets by version that a host gives to go-plugin.
// Dispense(Name) returns a *Remote that speaks the version agreed.
func HostPlugins() map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{
		Version1: {Name: &glue{version: Version1}},
		Version2: {Name: &glue{version: Version2}},
	}
}

// DialOptions are for the host's connection: bounds and buffers.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithStaticStreamWindowSize(flowWindow),
		grpc.WithStaticConnWindowSize(2 * flowWindow),
	}
}

// ServerOptions are for the plugin's server: bounds and buffers.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.StaticStreamWindowSize(flowWindow),
		grpc.StaticConnWindowSize(2 * flowWindow),
	}
}

// Register serves a transport on s without a process, for tests: new is called
// at Open, and the transport is closed when the Pipe ends. The server should
// have ServerOptions.
func Register(s grpc.ServiceRegistrar, new func() Transport, version int) {
	transportpb.RegisterTransportServer(s, newServer(new, version))
}

// glue is what go-plugin knows of a transport: on the host's side it makes a
// Remote, on the plugin's side it registers the server.
type glue struct {
	plugin.NetRPCUnsupportedPlugin
	version int
	server  *server
}

// GRPCServer implements plugin.GRPCPlugin. go-plugin calls it for the version
// that was agreed only.
func (g *glue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	g.server.version = g.version
	transportpb.RegisterTransportServer(s, g.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (g *glue) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewRemote(conn, g.version), nil
}
