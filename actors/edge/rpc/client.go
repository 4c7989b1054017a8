package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

// Errors of a client about its connection.
var (
	ErrNoNode = errors.New("no node is running")
	ErrGone   = errors.New("the node has stopped or closed the connection")
)

// Client calls the API of a running node. Its methods may be called by several
// goroutines at once. Errors the node answers with are Faults.
type Client struct {
	rpc  *gethrpc.Client
	life context.Context // ends with the connection, where that is known
	end  func()          // ends the connection
}

// goneGrace is how long a call that is under way when the connection ends waits
// for an answer that has been read already.
const goneGrace = 100 * time.Millisecond

// socket is the connection of a Client. It notes its end: go-ethereum forgets a
// call whose request it was just writing, and would let it wait for ever.
type socket struct {
	net.Conn
	end context.CancelFunc
}

// Read implements net.Conn.
func (s socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		s.end()
	}
	return n, err
}

// dialIPC connects to the socket at path.
func dialIPC(ctx context.Context, path string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	s := socket{conn, end}
	c, err := gethrpc.DialIO(ctx, s, s)
	if err != nil {
		end()
		conn.Close()
		return nil, err
	}
	context.AfterFunc(life, func() { conn.Close() })
	return &Client{c, life, end}, nil
}

// Dial connects to the node with the given data folder, or whose socket has the
// given path. ErrNoNode says that there is none.
func Dial(ctx context.Context, where string) (*Client, error) {
	path := where
	if i, err := os.Stat(where); err == nil && i.IsDir() {
		path = filepath.Join(where, SocketName)
	}
	dir := filepath.Dir(path)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the socket is %d bytes long and the system takes %d: "+
			"the data folder %s cannot be used", len(path), maxSocketPath, dir)
	}
	c, err := dialIPC(ctx, path)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrNotExist) || nobodyListens(err):
		return nil, fmt.Errorf("%w in %s (start one with: strata run --data-dir %s)", ErrNoNode, dir, dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the node in %s belongs to another user: %w", dir, err)
	}
	return nil, err
}

// DialURL connects to the node at a URL that begins with http: or ws:, with the
// token from its token file. Subscriptions need ws.
func DialURL(ctx context.Context, url, token string) (*Client, error) {
	c, err := gethrpc.DialOptions(ctx, url, gethrpc.WithHTTPAuth(func(h http.Header) error {
		h.Set("Authorization", "Bearer "+token)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return &Client{c, context.Background(), func() {}}, nil
}

// Close ends the connection, and with it the subscriptions. The connection goes
// first: go-ethereum waits for its reader, and does not close what it was given.
func (c *Client) Close() {
	c.end()
	c.rpc.Close()
}

// invoke calls a method and returns its answer.
func invoke[T any](ctx context.Context, c *Client, method string, args ...any) (T, error) {
	var result T
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	gone := func() { cancel(io.EOF) }
	defer context.AfterFunc(c.life, func() { time.AfterFunc(goneGrace, gone) })()
	err := c.rpc.CallContext(ctx, &result, namespace+"_"+method, args...)
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return result, cause(err)
}

// cause makes a Fault of an error that the node has answered with, and ErrGone
// of the end of the connection.
func cause(err error) error {
	var answered gethrpc.Error
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answered):
		return &Fault{answered.ErrorCode(), answered.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network),
		errors.Is(err, gethrpc.ErrClientQuit), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// Say writes text into a chat. See api.Say for what the answer promises.
func (c *Client) Say(ctx context.Context, chat payload.ChatID, text string) (payload.Message, error) {
	return invoke[payload.Message](ctx, c, "say", chat, text)
}

// Join opens a public chat.
func (c *Client) Join(ctx context.Context, channel secure.Channel) error {
	_, err := invoke[any](ctx, c, "join", channel)
	return err
}

// Leave closes a chat; its history stays.
func (c *Client) Leave(ctx context.Context, chat payload.ChatID) error {
	_, err := invoke[any](ctx, c, "leave", chat)
	return err
}

// Chats lists the chats, sorted by id.
func (c *Client) Chats(ctx context.Context) ([]payload.Chat, error) {
	return invoke[[]payload.Chat](ctx, c, "chats")
}

// History returns messages, newest first.
func (c *Client) History(ctx context.Context, q Query) (Page, error) {
	return invoke[Page](ctx, c, "history", q)
}

// Peers lists the live links and the nodes that are to be linked.
func (c *Client) Peers(ctx context.Context) ([]overlay.PeerInfo, error) {
	return invoke[[]overlay.PeerInfo](ctx, c, "peers")
}

// AddPeer makes the node keep a link to a node, given by enode URL or ENR.
func (c *Client) AddPeer(ctx context.Context, node string, trusted bool) error {
	_, err := invoke[any](ctx, c, "addPeer", node, trusted)
	return err
}

// RemovePeer undoes AddPeer and ends the link.
func (c *Client) RemovePeer(ctx context.Context, node string) error {
	_, err := invoke[any](ctx, c, "removePeer", node)
	return err
}

// ReplaceLayer exchanges the resident of a slot; see api.ReplaceLayer.
func (c *Client) ReplaceLayer(ctx context.Context, slot, file string, text []byte) error {
	_, err := invoke[any](ctx, c, "replaceLayer", slot, file, string(text))
	return err
}

// Status describes the node.
func (c *Client) Status(ctx context.Context) (Status, error) { return invoke[Status](ctx, c, "status") }

// Identity says who the node is.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	return invoke[Identity](ctx, c, "identity")
}

// Version says what program the node runs.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return invoke[Version](ctx, c, "version")
}

// Trace returns the life of a message or an envelope, given by its id in hex.
func (c *Client) Trace(ctx context.Context, id string) ([]actors.Step, error) {
	return invoke[[]actors.Step](ctx, c, "trace", id)
}

// Quarantine lists the inputs that broke a layer.
func (c *Client) Quarantine(ctx context.Context) ([]actors.Quarantined, error) {
	return invoke[[]actors.Quarantined](ctx, c, "quarantine")
}

// Subscription brings notices in their order.
type Subscription struct {
	of *gethrpc.ClientSubscription
	in chan json.RawMessage
}

// Messages subscribes to the messages the node receives.
func (c *Client) Messages(ctx context.Context) (*Subscription, error) {
	return c.subscribe(ctx, messages)
}

// Statuses subscribes to the changes of own messages.
func (c *Client) Statuses(ctx context.Context) (*Subscription, error) {
	return c.subscribe(ctx, statuses)
}

func (c *Client) subscribe(ctx context.Context, k kind) (*Subscription, error) {
	in := make(chan json.RawMessage)
	of, err := c.rpc.Subscribe(ctx, namespace, in, string(k))
	if err != nil {
		return nil, cause(err)
	}
	return &Subscription{of, in}, nil
}

// Next waits for the next notice. An error, also one that says that the
// subscriber was cut off, is final.
func (s *Subscription) Next(ctx context.Context) (Notice, error) {
	select {
	case b := <-s.in:
		return decodeNotice(b)
	case err := <-s.of.Err():
		if err == nil {
			return Notice{}, ErrGone
		}
		return Notice{}, cause(err)
	case <-ctx.Done():
		return Notice{}, ctx.Err()
	}
}

func decodeNotice(b []byte) (Notice, error) {
	var n Notice
	if err := json.Unmarshal(b, &n); err != nil {
		return Notice{}, fmt.Errorf("rpc: notice: %w", err)
	}
	if n.Ended != "" {
		return Notice{}, errors.New(n.Ended)
	}
	return n, nil
}

// Close ends the subscription. The connection stays.
func (s *Subscription) Close() { s.of.Unsubscribe() }
