package mvds

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/vacp2p/mvds/protobuf"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type jsonMessage struct {
	GroupID   string `json:"group_id"`
	Timestamp int64
	Body      string
	MessageID string `json:"message_id"`
}

func TestVectorsHold(t *testing.T) {
	layertest.RunVectors(t, "datasync", map[string]func(*testing.T, layertest.Vector){
		"one_to_one_group_id": groupVector,
		"message":             messageVector,
		"payload":             payloadVector,
		"discriminate":        discriminateVector,
	})
}

func groupVector(t *testing.T, v layertest.Vector) {
	var in struct {
		A string `json:"public_key_1"`
		B string `json:"public_key_2"`
	}
	var want struct {
		GroupID string `json:"group_id"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	a, errA := layers.ParsePublicKeyText(in.A)
	b, errB := layers.ParsePublicKeyText(in.B)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for _, got := range [][32]byte{oneToOne(a, b), oneToOne(b, a)} {
		if hex.EncodeToString(got[:]) != want.GroupID {
			t.Errorf("group id %x, want %s", got, want.GroupID)
		}
	}
}

func messageVector(t *testing.T, v layertest.Vector) {
	var in jsonMessage
	var want struct {
		ID  string `json:"message_id"`
		Pro string `json:"message_protobuf"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	m := wireMessage{unhex(t, in.GroupID), in.Timestamp, unhex(t, in.Body)}
	if id := m.id(); hex.EncodeToString(id[:]) != want.ID {
		t.Errorf("id %x, want %s", id, want.ID)
	}
	wire := m.encode(nil)
	if hex.EncodeToString(wire) != want.Pro {
		t.Errorf("encoded %x, want %s", wire, want.Pro)
	}
	if len(wire) != m.innerSize() {
		t.Errorf("size %d, want %d", m.innerSize(), len(wire))
	}
	got, ok := decodeMessage(wire)
	if !ok || got.id() != m.id() {
		t.Errorf("decoded %v, %v", got, ok)
	}
}

func payloadVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Pro string `json:"payload_protobuf"`
	}
	var want struct {
		Is                     bool `json:"is_datasync"`
		Acks, Offers, Requests []string
		Messages               []jsonMessage
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	p, is := decode(unhex(t, in.Pro))
	if is != want.Is {
		t.Fatalf("MVDS %v, want %v", is, want.Is)
	}
	for _, l := range []struct {
		got  []datasync.MessageID
		want []string
	}{{p.acks, want.Acks}, {p.offers, want.Offers}, {p.requests, want.Requests}} {
		var got []string
		for _, id := range l.got {
			got = append(got, hex.EncodeToString(id[:]))
		}
		if !slices.Equal(got, l.want) {
			t.Errorf("ids %v, want %v", got, l.want)
		}
	}
	var got []jsonMessage
	for _, m := range p.messages {
		id := m.id()
		got = append(got, jsonMessage{hex.EncodeToString(m.group), m.timestamp, hex.EncodeToString(m.body), hex.EncodeToString(id[:])})
	}
	if !slices.Equal(got, want.Messages) {
		t.Errorf("messages %v, want %v", got, want.Messages)
	}
	if e := hex.EncodeToString(p.encode()); e != in.Pro {
		t.Errorf("encoded %s, want %s", e, in.Pro)
	}
}

func discriminateVector(t *testing.T, v layertest.Vector) {
	var in struct{ Bytes string }
	var want struct {
		Is bool     `json:"is_datasync"`
		Up []string `json:"payloads_passed_up"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &want)
	if _, is := decode(unhex(t, in.Bytes)); is != want.Is {
		t.Fatalf("MVDS %v, want %v", is, want.Is)
	}
	n := newNode(t, alice)
	n.from(bob, unhex(t, in.Bytes))
	var got []string
	for _, r := range n.received() {
		if r.ID != (datasync.MessageID{}) {
			t.Errorf("id %x, want none", r.ID)
		}
		got = append(got, hex.EncodeToString(r.Body))
	}
	if !slices.Equal(got, want.Up) {
		t.Errorf("passed up %v, want %v", got, want.Up)
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range samplePayloads() {
		f.Add(p.encode())
	}
	f.Add([]byte(`["~#c4"]`))
	f.Add([]byte{0x8a, 0xfa, 0x01, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, is := decode(b)
		if len(p.acks) > maxPayloadIDs || len(p.offers) > maxPayloadIDs || len(p.requests) > maxPayloadIDs ||
			len(p.messages) > maxPayloadMessages {
			t.Fatalf("beyond the bounds: %d %d %d %d", len(p.acks), len(p.offers), len(p.requests), len(p.messages))
		}
		compareWithReference(t, b, p, is)
		if !is {
			return
		}
		again := p.encode()
		if len(again) != p.size() {
			t.Fatalf("size %d, encoded %d bytes", p.size(), len(again))
		}
		q, _ := decode(again)
		if !samePayload(p, q) {
			t.Fatalf("decoded %+v, then %+v", p, q)
		}
	})
}

// compareWithReference wants the verdict and the content that the reference
// implementation finds in the same bytes.
func compareWithReference(t *testing.T, b []byte, p payload, is bool) {
	t.Helper()
	var ref protobuf.Payload
	err := proto.Unmarshal(b, protoadapt.MessageV2Of(&ref))
	if want := err == nil && ref.IsValid(); is != want {
		t.Fatalf("MVDS %v, the reference says %v (%v)", is, want, err)
	}
	if !is {
		return
	}
	for _, l := range []struct {
		got []datasync.MessageID
		ref [][]byte
	}{{p.acks, ref.Acks}, {p.offers, ref.Offers}, {p.requests, ref.Requests}} {
		var want []datasync.MessageID
		for _, id := range l.ref {
			want = appendID(want, id)
		}
		if !slices.Equal(l.got, want) {
			t.Fatalf("ids %x, want %x", l.got, want)
		}
	}
	for i, m := range p.messages {
		if want := datasync.MessageID(ref.Messages[i].ID()); m.id() != want {
			t.Fatalf("message id %x, want %x", m.id(), want)
		}
	}
}

func samePayload(a, b payload) bool {
	return slices.Equal(a.acks, b.acks) && slices.Equal(a.offers, b.offers) && slices.Equal(a.requests, b.requests) &&
		slices.EqualFunc(a.messages, b.messages, func(a, b wireMessage) bool {
			return bytes.Equal(a.group, b.group) && a.timestamp == b.timestamp && bytes.Equal(a.body, b.body)
		})
}

func samplePayloads() []payload {
	id := func(b byte) datasync.MessageID { return datasync.MessageID(bytes.Repeat([]byte{b}, 32)) }
	group := bytes.Repeat([]byte{7}, 32)
	return []payload{
		{acks: []datasync.MessageID{id(1), id(2)}},
		{offers: []datasync.MessageID{id(3)}, requests: []datasync.MessageID{id(4)}},
		{messages: []wireMessage{{group, 1571000000, []byte("hello")}, {group, -1, []byte{}}, {group[:5], 0, nil}}},
	}
}

func TestReferenceReadsWhatIsWritten(t *testing.T) {
	for i, p := range samplePayloads() {
		var ref protobuf.Payload
		if err := proto.Unmarshal(p.encode(), protoadapt.MessageV2Of(&ref)); err != nil {
			t.Fatalf("payload %d: %v", i, err)
		}
		for j, m := range p.messages {
			if got := datasync.MessageID(ref.Messages[j].ID()); got != m.id() {
				t.Errorf("payload %d: the reference finds message %x, want %x", i, got, m.id())
			}
		}
		wire, err := proto.Marshal(protoadapt.MessageV2Of(&ref))
		if err != nil || !bytes.Equal(wire, p.encode()) {
			t.Errorf("payload %d: the reference writes %x (%v), want %x", i, wire, err, p.encode())
		}
	}
}

// Row 22: an id of a wrong length is not padded or cut, and takes nothing else
// with it.
func TestIDsOfWrongLengthAreLeftOutOneByOne(t *testing.T) {
	good := bytes.Repeat([]byte{9}, 32)
	b, err := proto.Marshal(protoadapt.MessageV2Of(&protobuf.Payload{
		Acks:     [][]byte{good[:31], good, append(good, 9), {}},
		Messages: []*protobuf.Message{{GroupId: good, Body: []byte("x")}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	p, is := decode(b)
	if !is || len(p.acks) != 1 || !bytes.Equal(p.acks[0][:], good) || len(p.messages) != 1 {
		t.Errorf("decoded %+v, %v; want the one good id and the message", p, is)
	}
}

func TestListsAreBounded(t *testing.T) {
	var p payload
	for i := range maxPayloadIDs + 10 {
		p.acks = append(p.acks, datasync.MessageID{byte(i), byte(i >> 8)})
	}
	for range maxPayloadMessages + 10 {
		p.messages = append(p.messages, wireMessage{body: []byte("x")})
	}
	got, is := decode(p.encode())
	if !is || len(got.acks) != maxPayloadIDs || len(got.messages) != maxPayloadMessages {
		t.Errorf("decoded %d ids and %d messages, want %d and %d", len(got.acks), len(got.messages), maxPayloadIDs, maxPayloadMessages)
	}
}

func TestConfigOfAnEmptySectionIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultOfAConfigIsReported(t *testing.T) {
	err := Config{RetransmitAfter: 1, RetransmitMax: -1, ExpireAfter: -1, AckDelay: -1}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"retransmit_after", "retransmit_max", "expire_after", "ack_delay", "max_queued"} {
		if !bytes.Contains([]byte(err.Error()), []byte("mvds: "+name+": ")) {
			t.Errorf("%s is not reported in %q", name, err)
		}
	}
}
