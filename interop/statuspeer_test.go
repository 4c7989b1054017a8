package interop

import (
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// status is one statuspeer: github.com/status-im/whisper v1.6.2.
type status struct {
	*geth
	events <-chan happening
}

// happening is an event of the library, as statuswhisper/control.go tells it.
type happening struct {
	Event  string        `json:"event"`
	Hash   common.Hash   `json:"hash"`
	Batch  common.Hash   `json:"batch"`
	Errors []envError    `json:"errors"`
	Cursor hexutil.Bytes `json:"cursor"`
	Last   common.Hash   `json:"last"`
	Error  string        `json:"error"`
}

type envError struct {
	Hash common.Hash `json:"hash"`
	Code uint        `json:"code"`
	Text string      `json:"text"`
}

// Events of the library.
const (
	envelopeSent     = "envelope.sent"
	batchAcked       = "batch.acknowleged" // as the library spells it
	requestCompleted = "mailserver.request.completed"
	syncFinished     = "mailserver.sync.finished"
)

// newStatus starts a peer of the Status network. Its flags are in
// statuswhisper/main.go.
func (s *stage) newStatus(name string, args ...string) *status {
	s.Helper()
	g := s.newPeer(name, statusBin, statusMinPoW, args...)
	events := make(chan happening, 1024)
	sub, err := g.rpc.Subscribe(s.ctx, "mail", events, "events")
	s.must(name+": mail_subscribe", err)
	s.Cleanup(sub.Unsubscribe)
	return &status{geth: g, events: events}
}

// newStatusServer starts one that is a mail server too. The form is that of the
// sealed requests it understands.
func (s *stage) newStatusServer(name, form string) *status {
	s.Helper()
	return s.newStatus(name, "-mail-server", form, "-mail-password", mailPassword)
}

// mailRequest says what is asked of a mail server, and how.
type mailRequest struct {
	Server   string        `json:"server"`
	Form     string        `json:"form"`
	Password string        `json:"password"`
	From     uint32        `json:"from"`
	To       uint32        `json:"to"`
	Bloom    hexutil.Bytes `json:"bloom"`
	Limit    uint32        `json:"limit"`
	Cursor   hexutil.Bytes `json:"cursor"`
}

// lately is a time range that begins an hour ago and ends in a minute.
func lately() (from, to uint32) {
	now := uint32(time.Now().Unix())
	return now - 3600, now + 60
}

// ask asks a mail server and waits for the end of the answer.
func (p *status) ask(r mailRequest) happening {
	p.Helper()
	var id hexutil.Bytes
	p.call(&id, "mail_ask", r)
	return await(p.stage, "the end of the answer to a "+r.Form+" request", p.events, func(h happening) bool {
		return h.Event == requestCompleted && h.Hash == common.BytesToHash(id)
	})
}

// acked waits until a peer has confirmed the packet that held the envelope, and
// returns the errors of packet 12, which ours sends only if there are any, and
// before packet 11. The confirmation may be told before the library tells that
// the envelope is sent.
func (p *status) acked(envelope hexutil.Bytes) (errs []envError) {
	p.Helper()
	var batch common.Hash
	acks := map[common.Hash]bool{} // by packet 12 or 11: it is the same event
	await(p.stage, "the confirmation", p.events, func(h happening) bool {
		switch {
		case h.Event == batchAcked:
			acks[h.Batch] = true
			errs = append(errs, h.Errors...)
		case h.Event == envelopeSent && h.Hash == common.BytesToHash(envelope):
			if batch = h.Batch; batch == (common.Hash{}) {
				p.Fatalf("%s does not expect a confirmation, though its peer announced them", p.name)
			}
		}
		return batch != (common.Hash{}) && acks[batch]
	})
	return errs
}
