package libp2p

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/plugins/transport"
)

// Fields of WakuMessage (14/WAKU2-MESSAGE).
const (
	wakuPayload   = 1  // bytes
	wakuContent   = 2  // string
	wakuVersion   = 3  // uint32
	wakuTimestamp = 10 // sint64, Unix nanoseconds
)

const (
	wakuMaxWire     = 150 << 10 // bytes of a gossip message
	wakuOverhead    = 256       // bytes of it that are not payload, at most: fields of the message and of gossip with its topic
	wakuMaxContent  = 256       // bytes of a content topic
	wakuVersionOf   = 1         // payloads are encrypted as in Whisper and Waku v1
	wakuTopicPrefix = "/waku/1/0x"
	wakuTopicSuffix = "/rfc26"
)

// waku is the wire form of Waku v2 relay, for envelopes of bridged Whisper
// topics. It carries no time to live.
type waku struct{ ttl time.Duration }

func (waku) maxWire() int            { return wakuMaxWire }
func (waku) maxData() int            { return wakuMaxWire - wakuOverhead }
func (w waku) maxTTL() time.Duration { return w.ttl }

func (waku) encode(e transport.Envelope) []byte {
	wire := make([]byte, 0, len(e.Data)+wakuOverhead)
	wire = protowire.AppendTag(wire, wakuPayload, protowire.BytesType)
	wire = protowire.AppendBytes(wire, e.Data)
	wire = protowire.AppendTag(wire, wakuContent, protowire.BytesType)
	wire = protowire.AppendString(wire, wakuTopicPrefix+e.Topic.String()+wakuTopicSuffix)
	wire = protowire.AppendTag(wire, wakuVersion, protowire.VarintType)
	wire = protowire.AppendVarint(wire, wakuVersionOf)
	wire = protowire.AppendTag(wire, wakuTimestamp, protowire.VarintType)
	return protowire.AppendVarint(wire, protowire.EncodeZigZag(e.Sent.Unix()*int64(time.Second)))
}

func (w waku) decode(wire []byte) (transport.Envelope, error) {
	if len(wire) > wakuMaxWire {
		return transport.Envelope{}, fmt.Errorf("%w: longer than %d bytes", errMalformed, wakuMaxWire)
	}
	var e transport.Envelope
	var content string
	var version uint64
	var stamp int64
	for rest := wire; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return transport.Envelope{}, fmt.Errorf("%w: tag", errMalformed)
		}
		rest = rest[n:]
		switch {
		case number == wakuPayload && kind == protowire.BytesType:
			e.Data, n = protowire.ConsumeBytes(rest)
		case number == wakuContent && kind == protowire.BytesType:
			var raw []byte
			raw, n = protowire.ConsumeBytes(rest)
			if len(raw) > wakuMaxContent {
				return transport.Envelope{}, fmt.Errorf("%w: content topic of %d bytes", errMalformed, len(raw))
			}
			content = string(raw)
		case number == wakuVersion && kind == protowire.VarintType:
			version, n = protowire.ConsumeVarint(rest)
		case number == wakuTimestamp && kind == protowire.VarintType:
			var raw uint64
			raw, n = protowire.ConsumeVarint(rest)
			stamp = protowire.DecodeZigZag(raw)
		default: // fields of others, and of later versions
			n = protowire.ConsumeFieldValue(number, kind, rest)
		}
		if n < 0 {
			return transport.Envelope{}, fmt.Errorf("%w: field %d", errMalformed, number)
		}
		rest = rest[n:]
	}
	if len(e.Data) == 0 || content == "" {
		return transport.Envelope{}, fmt.Errorf("%w: no payload or content topic", errMalformed)
	}
	topic, ok := whisperTopic(content)
	if !ok || version != wakuVersionOf || stamp < int64(time.Second) || len(e.Data) > w.maxData() {
		return transport.Envelope{}, errForeign
	}
	e.Topic, e.TTL = topic, w.ttl
	e.Sent = time.Unix(stamp/int64(time.Second), 0).UTC()
	return e, nil
}

// whisperTopic returns the Whisper topic that a content topic stands for.
func whisperTopic(content string) (transport.Topic, bool) {
	digits, ok := strings.CutPrefix(content, wakuTopicPrefix)
	if !ok {
		return transport.Topic{}, false
	}
	digits, ok = strings.CutSuffix(digits, wakuTopicSuffix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != len(transport.Topic{}) {
		return transport.Topic{}, false
	}
	return transport.Topic(raw), true
}
