package rpc

import (
	"fmt"
	"time"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// Codes of JSON-RPC errors, in the range the specification leaves to
// applications.
const (
	CodeRefused  = -32010 // the layer refused the command, and says why
	CodeTimeout  = -32011 // no answer in time; the command may still be carried out
	CodeBusy     = -32012 // too much at once; nothing was done
	CodeNoLayer  = -32013 // the node has no layer for this
	CodeStopping = -32014 // the node is stopping
	CodeInvalid  = -32602 // the parameters are wrong (JSON-RPC 2.0)
)

// Fault is an error the API answers with. Faults with the same code are equal to
// errors.Is.
type Fault struct {
	Code   int
	Reason string
}

// Errors to compare a Fault with.
var (
	ErrRefused  = &Fault{Code: CodeRefused, Reason: "refused"}
	ErrTimeout  = &Fault{Code: CodeTimeout, Reason: "no answer in time"}
	ErrBusy     = &Fault{Code: CodeBusy, Reason: "busy"}
	ErrNoLayer  = &Fault{Code: CodeNoLayer, Reason: "no such layer"}
	ErrStopping = &Fault{Code: CodeStopping, Reason: "the node is stopping"}
	ErrInvalid  = &Fault{Code: CodeInvalid, Reason: "invalid parameters"}
)

func fault(code int, format string, args ...any) *Fault {
	return &Fault{code, fmt.Sprintf(format, args...)}
}

// Error implements error.
func (f *Fault) Error() string { return f.Reason }

// ErrorCode makes the code part of the answer.
func (f *Fault) ErrorCode() int { return f.Code }

// Is reports whether target is a Fault with the same code.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code == f.Code
}

// Query asks for a part of the history.
type Query struct {
	Chat   payload.ChatID `json:"chat,omitempty"`   // empty: all chats
	Limit  int            `json:"limit,omitempty"`  // at most 1000; zero means 100
	Before string         `json:"before,omitempty"` // a Page's Next, to go on
}

// Page is a part of the history, newest message first.
type Page struct {
	Messages []payload.Message `json:"messages"`
	Next     string            `json:"next,omitempty"` // for Query.Before; empty at the end
}

// Notice is what a subscription brings: one of its fields is set.
type Notice struct {
	Message *payload.Message `json:"message,omitempty"`
	Status  *StatusChange    `json:"status,omitempty"`
	History *History         `json:"history,omitempty"`
	Ended   string           `json:"ended,omitempty"` // why nothing more will come
}

// StatusChange says that an own message has moved on.
type StatusChange struct {
	ID     payload.MessageID `json:"id"`
	Chat   payload.ChatID    `json:"chat"`
	Status payload.Status    `json:"status"`
	Reason string            `json:"reason,omitempty"` // why it failed
}

// Identity says who a node is: to people by its chat key, to nodes by the rest.
type Identity struct {
	ChatKey layers.PublicKey `json:"chat_key"` // empty without a payload layer
	Peer    string           `json:"peer_id,omitempty"`
	Enode   string           `json:"enode,omitempty"`
	ENR     string           `json:"enr,omitempty"`
}

// Version says what program a node runs.
type Version struct {
	Module    string   `json:"module"`
	Version   string   `json:"version"`
	Revision  string   `json:"revision,omitempty"`
	Modified  bool     `json:"modified,omitempty"` // built from changed sources
	Built     string   `json:"built,omitempty"`    // time of the revision
	Go        string   `json:"go"`
	Platform  string   `json:"platform"`
	Protocols []string `json:"protocols"`
}

// Resident says who fills a slot.
type Resident struct {
	Use   string         `json:"use"`             // as in the configuration file
	Peers int            `json:"peers"`           // that it has beside those of the overlay
	About map[string]any `json:"about,omitempty"` // what it says of itself
}

// Layer describes one resident of the stack.
type Layer struct {
	kernel.Status
	Resident
	Queue       int64  `json:"queue"`       // messages on their way to it
	Steps       uint64 `json:"steps"`       // taken since the node started
	Refused     uint64 `json:"refused"`     // inputs refused as bad
	Quarantined int64  `json:"quarantined"` // inputs that broke it and are kept
}

// Process says what the program of the node takes of the machine.
type Process struct {
	Goroutines int    `json:"goroutines"`
	Memory     uint64 `json:"memory_bytes"` // resident, where the system tells; else what the Go runtime has
}

// Usage says what the API did since the node started.
type Usage struct {
	Calls       uint64 `json:"calls"`
	Busy        uint64 `json:"busy"`        // calls answered with busy
	TimedOut    uint64 `json:"timed_out"`   // calls without an answer in time
	TurnedAway  uint64 `json:"turned_away"` // connections and requests refused: token, host, number
	Subscribers int    `json:"subscribers"` // now
	CutOff      uint64 `json:"cut_off"`     // subscribers that did not keep up
}

// Status describes a node.
type Status struct {
	Healthy  bool      `json:"healthy"` // every layer is running and none is degraded
	Reasons  []string  `json:"reasons,omitempty"`
	Started  time.Time `json:"started"`
	Version  string    `json:"version"`
	Peers    int       `json:"peers"` // live links
	Identity Identity  `json:"identity"`
	Layers   []Layer   `json:"layers"`
	API      Usage     `json:"api"`
	History  *History  `json:"history,omitempty"` // how fetching of what was missed goes
	Process  Process   `json:"process"`
}
