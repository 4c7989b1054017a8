package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// question is one JSON-RPC request that go-ethereum and our node are both asked.
// In params, {name} stands for what an earlier answer was kept as.
type question struct {
	method string
	params string // a JSON array; empty: the request has none
	keep   string // under this name
	random bool   // the answer is 32 random bytes or a new id of a subscription
	ours   string // what ours answers where it means to differ; see answerOf for the form
}

// Arguments of questions. The node of strangerURL is linked to nobody.
const (
	someKey     = "0x04f028892bad7ed57d2fb57bf33081d5cfcf6f9ed3d3d7f159c2e2fff579dc341a07cf33da18bd734c600b96a72bbc4749d5141c90ec8ac328ae52ddfe2e505bdb"
	strangerURL = "enode://1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439@127.0.0.1:30303"
	nobodyID    = "0000000000000000000000000000000000000000000000000000000000000000"
	groupOrder  = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
)

// What ours means to answer otherwise, and why.
const (
	// A parameter that is null is missing, for the JSON-RPC library of today.
	noValue0 = "error -32602: missing value for required argument 0"
	noValue1 = "error -32602: missing value for required argument 1"
	// Links are made for packets of a certain length, and a node that takes nothing
	// is of no use.
	tooLongForLinks = "error -32000: message size of 1048577 bytes is above max_message_size_bytes, 1048576, which the links were made for"
	tooShortForUse  = "error -32000: message size of 4095 bytes is below 4096"
	// Status writes it with a capital, and so did go-ethereum before.
	notLinked = "error -32000: Could not find peer with ID: 3431c3939e1ee2a6345e976a8234f9870152d64879f30bc272a074f6859e75e8"
)

// TestShhAPIAnswersAsGoEthereumDoes asks a go-ethereum node and ours the same, one
// request after the other, and wants the same answers: results, codes and texts
// of errors.
func TestShhAPIAnswersAsGoEthereumDoes(t *testing.T) {
	s := newStage(t)
	s.newGeth("geth", statusMinPoW)
	s.newStrata("strata", fmt.Sprintf(strings.Replace(relayConfig, "{interest: everything}", "{interest: everything, min_pow: 0.001}", 1), s.path("strata")))
	theirs, ours := s.interview("geth", "geth.ipc"), s.interview("strata", "strata.ipc")
	for _, q := range slices.Concat(settings, keysAsked, filtersAsked, postsAsked, framing) {
		want, got := theirs.answerOf(q), ours.answerOf(q)
		switch {
		case q.ours == "" && got != want:
			t.Errorf("%s(%s):\n ours  %s\n theirs %s", q.method, q.params, got, want)
		case q.ours != "" && got != q.ours:
			t.Errorf("%s(%s):\n ours   %s\n want   %s\n theirs %s", q.method, q.params, got, q.ours, want)
		case q.ours != "" && got == want:
			t.Errorf("%s(%s): does not differ from %s", q.method, q.params, want)
		}
	}
	t.Run("framing", func(t *testing.T) {
		for _, text := range framed {
			want, got := s.interview("geth", "geth.ipc").told(text), s.interview("strata", "strata.ipc").told(text)
			if got != want {
				t.Errorf("%s:\n ours   %s\n theirs %s", text, got, want)
			}
		}
		for _, text := range unversioned {
			if got := s.interview("strata", "strata.ipc").told(text); got != invalidRequest {
				t.Errorf("%s: %s, want %s", text, got, invalidRequest)
			}
		}
	})
	t.Run("notices", func(t *testing.T) {
		for _, m := range messagesAsked {
			want, got := theirs.noticeOf(m.post, m.filter), ours.noticeOf(m.post, m.filter)
			if got != want {
				t.Errorf("%s in %s:\n ours   %s\n theirs %s", m.post, m.filter, got, want)
			}
		}
	})
	t.Run("messages", func(t *testing.T) {
		for _, m := range messagesAsked {
			want, got := theirs.messageOf(m.post, m.filter), ours.messageOf(m.post, m.filter)
			if got != want {
				t.Errorf("%s in %s:\n ours   %s\n theirs %s", m.post, m.filter, got, want)
			}
		}
	})
}

func repeatHex(b string, n int) string { return "0x" + strings.Repeat(b, n) }

// interview is a connection to one node, and what its answers were kept as.
type interview struct {
	*stage
	name  string
	conn  net.Conn
	in    *json.Decoder
	kept  map[string]string
	count int

	notices []notification // as they came
}

// notification is what a subscription brings.
type notification struct {
	Subscription string         `json:"subscription"`
	Result       map[string]any `json:"result"`
}

func (s *stage) interview(name, socket string) *interview {
	s.Helper()
	c, err := net.Dial("unix", filepath.Join(s.path(name), socket))
	s.must("connect to "+name, err)
	s.Cleanup(func() { c.Close() })
	return &interview{stage: s, name: name, conn: c, in: json.NewDecoder(c), kept: map[string]string{}}
}

// reply is what a node answers.
type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"` // of a notice of a subscription
	Params json.RawMessage `json:"params"` // likewise
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// ask sends one request and returns its answer.
func (v *interview) ask(method, params string) (r reply) {
	v.Helper()
	v.count++
	for name, value := range v.kept {
		params = strings.ReplaceAll(params, "{"+name+"}", value)
	}
	if params != "" {
		params = `,"params":` + params
	}
	deadline, _ := v.ctx.Deadline()
	v.must(v.name, v.conn.SetDeadline(deadline))
	_, err := fmt.Fprintf(v.conn, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":%q%s}\n", v.count, method, params)
	v.must(v.name+": "+method, err)
	for r.ID != v.count {
		r = reply{}
		if err := v.in.Decode(&r); err == io.EOF {
			v.Fatalf("%s: %s(%s) ended the connection", v.name, method, params)
		} else {
			v.must(v.name+": "+method+" "+params, err)
		}
		v.hear(r)
	}
	return r
}

// hear remembers a notice.
func (v *interview) hear(r reply) {
	v.Helper()
	if r.Method != "shh_subscription" {
		return
	}
	var n notification
	v.must(v.name+": notice", json.Unmarshal(r.Params, &n))
	v.notices = append(v.notices, n)
}

var (
	anyID   = regexp.MustCompile(`"[0-9a-f]{64}"`)
	anyHash = regexp.MustCompile(`"0x[0-9a-f]{1,64}"`)
)

// answerOf asks a question and writes the answer so that those of two nodes can
// be compared: what is random is replaced by what it is.
func (v *interview) answerOf(q question) string {
	v.Helper()
	r := v.ask(q.method, q.params)
	if q.keep != "" && r.Error == nil {
		var text string
		v.must(v.name+": "+q.method, json.Unmarshal(r.Result, &text))
		v.kept[q.keep] = text
	}
	if r.Error != nil {
		return v.known(fmt.Sprintf("error %d: %s", r.Error.Code, r.Error.Message))
	}
	text := anyID.ReplaceAllString(v.known(string(r.Result)), "<id>")
	if q.random {
		text = anyHash.ReplaceAllString(text, "<hash>")
	}
	return text
}

// known puts the names of kept ids in the place of the ids.
func (v *interview) known(text string) string {
	for name, value := range v.kept {
		if name != "public" {
			text = strings.ReplaceAll(text, value, "{"+name+"}")
		}
	}
	return text
}

// messageOf makes a filter, posts, and returns the message that the filter got.
func (v *interview) messageOf(post, filter string) string {
	v.Helper()
	var id, hash string
	for _, one := range []struct {
		into   *string
		method string
		params string
	}{{&id, "shh_newMessageFilter", filter}, {&hash, "shh_post", post}} {
		r := v.ask(one.method, "["+one.params+"]")
		if r.Error != nil {
			return r.Error.Message
		}
		v.must(v.name+": "+one.method, json.Unmarshal(r.Result, one.into))
	}
	var list []map[string]any
	v.eventually(v.name+" to have its message", func() (bool, error) {
		r := v.ask("shh_getFilterMessages", `["`+id+`"]`)
		return r.Error == nil && string(r.Result) != "[]", json.Unmarshal(r.Result, &list)
	})
	if len(list) != 1 {
		return fmt.Sprintf("%d messages", len(list))
	}
	return v.comparable(list[0], hash)
}

// told sends a text and returns what comes first.
func (v *interview) told(text string) string {
	v.Helper()
	deadline, _ := v.ctx.Deadline()
	v.must(v.name, v.conn.SetDeadline(deadline))
	_, err := fmt.Fprintln(v.conn, text)
	v.must(v.name+": "+text, err)
	var r json.RawMessage
	v.must(v.name+": "+text, v.in.Decode(&r))
	return string(r)
}

// noticeOf subscribes, posts, and returns what the subscription brought.
func (v *interview) noticeOf(post, filter string) string {
	v.Helper()
	var id, hash string
	for _, one := range []struct {
		into   *string
		method string
		params string
	}{{&id, "shh_subscribe", `"messages",` + filter}, {&hash, "shh_post", post}} {
		r := v.ask(one.method, "["+one.params+"]")
		if r.Error != nil {
			return r.Error.Message
		}
		v.must(v.name+": "+one.method, json.Unmarshal(r.Result, one.into))
	}
	for !slices.ContainsFunc(v.notices, func(n notification) bool { return n.Subscription == id }) {
		var r reply
		v.must(v.name+" to be told of its message", v.in.Decode(&r))
		v.hear(r)
	}
	var all []string
	for _, n := range v.notices {
		if n.Subscription == id {
			all = append(all, v.comparable(n.Result, hash))
		}
	}
	first, second := v.ask("shh_unsubscribe", `["`+id+`"]`), v.ask("shh_unsubscribe", `["`+id+`"]`)
	return fmt.Sprintf("%s, then %s, then %+v", all, first.Result, *second.Error)
}

// comparable writes a message so that those of two nodes can be compared.
func (v *interview) comparable(m map[string]any, hash string) string {
	v.Helper()
	m["hash"] = m["hash"] == hash
	m["padding"] = len(m["padding"].(string))
	m["pow"] = m["pow"].(float64) >= 0.002
	age := time.Since(time.Unix(int64(m["timestamp"].(float64)), 0))
	m["timestamp"] = age > -2*time.Second && age < sceneTimeout
	text, err := json.Marshal(m)
	v.must("message", err)
	return string(text)
}
