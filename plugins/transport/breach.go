package transport

import "fmt"

// Breach says that a plugin broke the rules of the wire. It ends the transport:
// every call afterwards returns the same Breach. What is merely wrong in the
// content, and harmless, is dropped and counted instead; see Counts.
//
//	rule               what the plugin did
//	frame.size         sent a message of more than 1 MiB and 128 KiB
//	frame.malformed    sent bytes that are not a PluginFrame, or one of more than 4096 parts
//	frame.unknown      sent a frame that has no field of the version spoken
//	frame.flood        sent more than 10 000 frames in 10 s that carry and answer nothing
//	batch.size         reported no envelope in a batch, or more than MaxBatch
//	credit.overdrawn   reported more envelopes than it had credits for
//	envelope.topic     reported an envelope whose topic is not 4 bytes long
//	envelope.data      reported an envelope without Data, or longer than Info.MaxData
//	result.unknown     answered an envelope that it was not given, or twice
//	info.limit         opened with an Info beyond the limits
//	reply.limit        answered a Query beyond the limits
//	ask.limit          asked more than MaxAsks at once, twice under one id, or beyond the limits
//	call.missing       does not implement a method that it has to or declared
//	deadline.missed    did not answer in time
type Breach struct {
	Rule   string // one of the Rule constants
	Reason string // for people, clean and at most MaxText bytes long
}

// Error implements error.
func (b *Breach) Error() string {
	return "transport: the plugin broke rule " + b.Rule + ": " + b.Reason
}

// The rules a plugin can break.
const (
	RuleFrameSize       = "frame.size"
	RuleFrameMalformed  = "frame.malformed"
	RuleFrameUnknown    = "frame.unknown"
	RuleFrameFlood      = "frame.flood"
	RuleBatchSize       = "batch.size"
	RuleCreditOverdrawn = "credit.overdrawn"
	RuleEnvelopeTopic   = "envelope.topic"
	RuleEnvelopeData    = "envelope.data"
	RuleResultUnknown   = "result.unknown"
	RuleInfoLimit       = "info.limit"
	RuleReplyLimit      = "reply.limit"
	RuleAskLimit        = "ask.limit"
	RuleCallMissing     = "call.missing"
	RuleDeadlineMissed  = "deadline.missed"
)

func breach(rule, format string, args ...any) error {
	return &Breach{rule, Clean(fmt.Sprintf(format, args...), MaxText)}
}

// Counts says how much of what a plugin sent was dropped or cut, and why. All
// of it only grows.
type Counts struct {
	Time     uint64 // envelopes that were sent before 1970 or after 2200
	TTL      uint64 // envelopes without a TTL, or with one beyond Info.MaxTTL
	Receipts uint64 // receipts not declared, of an unknown outcome or for an envelope not taken
	Late     uint64 // receipts for which there was no room, because Receive came late
	Peers    uint64 // peers beyond MaxPeers, and peer counts that were cut
	Stats    uint64 // counters beyond MaxStats, badly named or not a number
	Texts    uint64 // texts that were cut or had to be cleaned
	Credits  uint64 // credits beyond what a host can use
}
