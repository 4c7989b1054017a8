package transporttest

import (
	"context"
	"fmt"
	"path"
	"slices"
)

// Rule is a named statement of the contract.
type Rule struct {
	ID   string `json:"rule"` // stable: "method.property"
	Text string `json:"text"`
}

// Rules returns the rules in the order in which they are checked.
func Rules() []Rule {
	var all []Rule
	for _, r := range rules {
		all = append(all, r.Rule)
	}
	return all
}

// RulesNamed returns the rules that Target.Only with these patterns chooses. An
// error names a pattern that is of no rule.
func RulesNamed(patterns []string) ([]Rule, error) {
	chosen, err := chosenRules(patterns)
	var all []Rule
	for _, r := range chosen {
		all = append(all, r.Rule)
	}
	return all, err
}

// chosenRules returns the rules that any of the patterns names, or all of them.
func chosenRules(patterns []string) (chosen []rule, err error) {
	if len(patterns) == 0 {
		return rules, nil
	}
	used := make([]bool, len(patterns))
	for _, r := range rules {
		named := false
		for i, p := range patterns {
			match, err := path.Match(p, r.ID)
			if err != nil {
				return nil, fmt.Errorf("transporttest: rule %q: %w", p, err)
			}
			used[i] = used[i] || match
			named = named || match
		}
		if named {
			chosen = append(chosen, r)
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fmt.Errorf("transporttest: there is no rule %q", patterns[i])
	}
	return chosen, nil
}

// rule is a Rule and how it is checked: nil is a pass, a verdict is a warning
// or does not apply, any other error is a failure.
type rule struct {
	Rule
	run func(context.Context, *bench) error
}

var rules = []rule{
	{Rule{"process.starts", "the program starts and shakes hands"}, processStarts},

	{Rule{"open.alone", "Open succeeds without peers, in 10 s"}, openAlone},
	{Rule{"open.info", "Info has a name of a-z, 0-9 and -, a version, and known values only"}, openInfo},
	{Rule{"open.limits", "MaxData is 1 to 1 MiB, MaxTTL at least 10 s, Latency not negative"}, openLimits},
	{Rule{"open.abilities", "only abilities that it has are declared"}, openAbilities},
	{Rule{"open.unknown-setting", "a setting it does not know is an error with CodeInvalid that names it"}, openUnknownSetting},
	{Rule{"open.bad-setting", "a setting of the wrong type is an error with CodeInvalid that names it"}, openBadSetting},
	{Rule{"open.close-after-failure", "Close after an Open that failed returns in 2 s"}, openCloseAfterFailure},

	{Rule{"publish.taken", "Publish takes an envelope"}, publishTaken},
	{Rule{"deliver.received", "a published envelope arrives at a node that subscribed to its topic"}, deliverReceived},
	{Rule{"deliver.both-ways", "envelopes travel in both directions"}, deliverBothWays},
	{Rule{"deliver.to-all", "an envelope arrives at every node that subscribed"}, deliverToAll},
	{Rule{"deliver.topic-intact", "the topic arrives as it was sent, every byte of it"}, deliverTopicIntact},
	{Rule{"deliver.data-intact", "Data arrives as it was sent, of any bytes and of 1 to MaxData bytes"}, deliverDataIntact},
	{Rule{"deliver.sent-and-ttl-intact", "Sent and TTL arrive as they were sent"}, deliverTimesIntact},
	{Rule{"deliver.once", "an envelope is reported once"}, deliverOnce},
	{Rule{"deliver.only-subscribed", "envelopes of other topics are not reported (they may be)"}, deliverOnlySubscribed},
	{Rule{"deliver.in-order", "envelopes arrive as sent, if Ordering says so"}, deliverInOrder},

	{Rule{"publish.not-to-self", "a node does not receive what it published"}, publishNotToSelf},
	{Rule{"publish.batch", "Publish takes 256 envelopes at once, and all arrive"}, publishBatch},
	{Rule{"publish.unchanged", "Publish does not change the envelopes"}, publishUnchanged},
	{Rule{"publish.too-large-refused", "Data longer than MaxData is refused with CodeTooLarge"}, publishTooLarge},
	{Rule{"publish.expired", "an envelope that is too old is refused with CodeExpired, or not carried"}, publishExpired},
	{Rule{"publish.errors-by-index", "an envelope that is refused does not harm the others of its batch"}, publishErrorsByIndex},
	{Rule{"publish.does-not-block", "Publish returns in 5 s without any peer, full or not"}, publishDoesNotBlock},
	{Rule{"privacy.offered", "what Info.Privacy offers, Publish takes"}, privacyOffered},

	{Rule{"subscribe.none", "an empty filter is accepted"}, subscribeNone},
	{Rule{"subscribe.many", "16,384 topics are accepted in 5 s, and the last of them counts"}, subscribeMany},
	{Rule{"subscribe.all", "All receives every topic"}, subscribeAll},
	{Rule{"subscribe.replaces", "Subscribe replaces the filter before it"}, subscribeReplaces},
	{Rule{"subscribe.late", "what arrived before it was subscribed to is reported, if Storage says so"}, subscribeLate},
	{Rule{"storage.late-node", "a node that opens later receives what was sent before, if Storage says so"}, storageLateNode},
	{Rule{"expired.not-delivered", "an envelope is not reported after its TTL"}, expiredNotDelivered},

	{Rule{"receive.waits", "Receive waits while there is nothing to report"}, receiveWaits},
	{Rule{"receive.ends-on-cancel", "Receive returns an error when its context is done"}, receiveEndsOnCancel},
	{Rule{"receive.ends-on-close", "Receive returns an error after Close"}, receiveEndsOnClose},

	{Rule{"burst.no-loss", "200 envelopes of 1 KiB in 100 ms all arrive on loopback"}, burstNoLoss},
	{Rule{"concurrent.calls", "Subscribe, Publish, Receive and the abilities work at the same time"}, concurrentCalls},
	{Rule{"receipts.once", "every envelope taken has one receipt in the end, if Info.Receipts"}, receiptsOnce},
	{Rule{"receipts.declared", "receipts come only if Info.Receipts"}, receiptsDeclared},
	{Rule{"peers.counted", "the number of peers is reported, and Peers lists at most 1024"}, peersCounted},
	{Rule{"stats.names", "Stats has at most 64 well-named, finite counters, and _total never falls"}, statsNames},
	{Rule{"query.pages", "Query finds what was published, in pages, oldest first"}, queryPages},
	{Rule{"serve.answers", "what a peer asks is answered out of the archive of the node"}, serveAnswers},
	{Rule{"serve.ends", "Serve returns 2 s after its context is done at the latest, and may be called again"}, serveEnds},
	{Rule{"errors.typed", "errors keep their code and have a reason of at most 256 bytes"}, errorsTyped},
	{Rule{"time.uses-options-clock", "the clock is Options.Now (in process)"}, timeUsesClock},

	{Rule{"close.in-time", "Close returns in 2 s, under load too"}, closeInTime},
	{Rule{"close.frees-address", "the same settings open again right after Close"}, closeFreesAddress},
	{Rule{"restart.works", "a node that was closed and opened again, with its folder, sends and receives"}, restartWorks},
	{Rule{"process.exits-on-close", "the process ends within 2 s of Close"}, processExits},
	{Rule{"process.no-orphan", "no process is left"}, processNoOrphan},
	{Rule{"receive.legal", "no report was empty, too long or had an envelope outside the limits"}, receiveLegal},
}
