package ratchet

import (
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
)

func TestTopicVectors(t *testing.T) {
	elsewhere := layertest.Elsewhere("layers")
	layertest.RunVectors(t, "topics", map[string]func(*testing.T, layertest.Vector){
		"public_chat":       publicChatVector,
		"identity_topics":   identityTopicsVector,
		"negotiated":        negotiatedVector,
		"generic_discovery": genericVector,
		"account":           elsewhere,
	})
}

func publicChatVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Name string `json:"chat_name_utf8"`
	}
	var out struct{ SymKey, Topic hexBytes }
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	topic, key := envelope.TopicOf(in.Name), envelope.KeyFromPassword(in.Name)
	equal(t, "topic", topic[:], out.Topic)
	equal(t, "key", key[:], out.SymKey)
}

func identityTopicsVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Public hexBytes `json:"public_key"`
	}
	var out struct {
		Code        string   `json:"contact_code_string"`
		CodeKey     hexBytes `json:"contact_code_symkey"`
		CodeTopic   hexBytes `json:"contact_code_topic"`
		Partition   int
		Partitioned string   `json:"partitioned_string"`
		PartTopic   hexBytes `json:"partitioned_topic"`
		Personal    string   `json:"personal_discovery_string"`
		PersTopic   hexBytes `json:"personal_discovery_topic"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	k := mustPublic(t, in.Public)
	if partition(k) != out.Partition {
		t.Errorf("partition: got %d, want %d", partition(k), out.Partition)
	}
	for _, c := range []struct {
		got, want string
		topic     hexBytes
	}{
		{contactCode(k), out.Code, out.CodeTopic},
		{partitioned(k), out.Partitioned, out.PartTopic},
		{personal(k), out.Personal, out.PersTopic},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
		topic := envelope.TopicOf(c.got)
		equal(t, c.want, topic[:], c.topic)
	}
	key := envelope.KeyFromPassword(contactCode(k))
	equal(t, "contact code key", key[:], out.CodeKey)
}

func negotiatedVector(t *testing.T, v layertest.Vector) {
	var in struct {
		Mine   hexBytes `json:"my_private_key"`
		Theirs hexBytes `json:"their_private_key"`
	}
	var out struct {
		SymKey, Topic hexBytes
		Text          string `json:"topic_string"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	mine, theirs := mustPrivate(t, in.Mine), mustPrivate(t, in.Theirs)
	for _, side := range []struct{ own, other layers.PrivateKey }{{mine, theirs}, {theirs, mine}} {
		text, err := negotiated(side.own, side.other.Public())
		if err != nil || text != out.Text {
			t.Errorf("got %q, %v, want %q", text, err, out.Text)
		}
	}
	topic, key := envelope.TopicOf(out.Text), envelope.KeyFromPassword(out.Text)
	equal(t, "topic", topic[:], out.Topic)
	equal(t, "key", key[:], out.SymKey)
}

func genericVector(t *testing.T, v layertest.Vector) {
	var out struct{ Topic hexBytes }
	layertest.Decode(t, v.Out, &out)
	topic := envelope.TopicOf(genericDiscovery)
	equal(t, "topic", topic[:], out.Topic)
}
