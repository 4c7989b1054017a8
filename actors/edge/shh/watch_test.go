package shh

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// asking is a watch over topics that the test chooses.
type asking struct {
	watch

	lock   sync.Mutex
	now    []transport.Topic // those of the filters there are
	told   int               // how often the transport was
	latest []transport.Topic // what it was told last
}

func newAsking() *asking {
	a := &asking{}
	a.topics = func() []transport.Topic {
		a.lock.Lock()
		defer a.lock.Unlock()
		return slices.Clone(a.now)
	}
	a.send = func(c transport.Command) {
		a.lock.Lock()
		defer a.lock.Unlock()
		a.told, a.latest = a.told+1, c.(transport.Watch).Topics
	}
	a.begin()
	return a
}

// filter does what a new filter does.
func (a *asking) filter(topics ...transport.Topic) error {
	if err := a.room(topics); err != nil {
		return err
	}
	a.are(func(now []transport.Topic) []transport.Topic { return append(now, topics...) })
	a.grow(topics)
	return nil
}

// are changes which topics the filters have.
func (a *asking) are(change func([]transport.Topic) []transport.Topic) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.now = change(a.now)
}

// said returns how often the transport was told, and what last.
func (a *asking) said() (int, []transport.Topic) {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.told, a.latest
}

func topicNumber(i int) transport.Topic {
	return transport.Topic{byte(i >> 16), byte(i >> 8), byte(i), 1}
}

// Every Watch makes the transport report all it holds, and remember its topics.
func TestFiltersMadeInALoopBotherTheTransportRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking()
		for i := range 1000 {
			if err := a.filter(topicNumber(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(askEvery)
		synctest.Wait()
		told, last := a.said()
		if told != 5 { // at 0, 250, 500, 750 and 1000 ms
			t.Errorf("told %d times in a second", told)
		}
		if len(last) != 1000 || last[999] != topicNumber(999) {
			t.Errorf("told %d topics in the end, want all", len(last))
		}
	})
}

func TestTopicOfAFilterThatWasGoneTooSoonIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking()
		for _, topic := range []transport.Topic{topicA, topicB} {
			if err := a.filter(topic); err != nil {
				t.Fatal(err)
			}
		}
		a.are(func(now []transport.Topic) []transport.Topic { return now[:1] }) // before the transport was told
		time.Sleep(askEvery)
		synctest.Wait()
		if err := a.filter(topicB); err != nil {
			t.Fatal(err)
		}
		time.Sleep(askEvery)
		synctest.Wait()
		if _, last := a.said(); !slices.Contains(last, topicB) {
			t.Errorf("told %v", last)
		}
	})
}

func TestTopicsAskedForAreBoundedUntilTheTransportStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking()
		for i := range maxAsked / maxTopics {
			a.are(func([]transport.Topic) []transport.Topic { return nil }) // the filter before is deleted
			var topics []transport.Topic
			for k := range maxTopics {
				topics = append(topics, topicNumber(i*maxTopics+k))
			}
			if err := a.filter(topics...); err != nil {
				t.Fatalf("filter %d: %v", i, err)
			}
			time.Sleep(askEvery)
			synctest.Wait()
		}
		want := fmt.Sprintf("shh: %d topics were asked for already, 1 more are too many", maxAsked)
		if err := a.filter(topicB); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %q", err, want)
		}
		if err := a.filter(topicNumber(5)); err != nil {
			t.Errorf("a topic that was asked for: %v", err)
		}
		a.repeat()
		if err := a.filter(topicB); err != nil {
			t.Errorf("after a new start: %v", err)
		}
		a.end()
	})
}

func TestNothingIsAskedForAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking()
		for _, topic := range []transport.Topic{topicA, topicB} {
			if err := a.filter(topic); err != nil {
				t.Fatal(err)
			}
		}
		a.end()
		before, _ := a.said()
		time.Sleep(2 * askEvery)
		synctest.Wait()
		a.repeat()
		err := a.filter(topicNumber(7))
		if told, _ := a.said(); err != nil || told != before {
			t.Errorf("told %d times more, %v", told-before, err)
		}
	})
}
