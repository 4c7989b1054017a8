package bridge

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stratanode/strata/kernel"
)

func TestValidateReportsEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default configuration: %v", err)
	}
	bad := Config{
		NearToFar: Budget{EnvelopesPerSecond: 0, KiBPerSecond: maxKiBPerSecond + 1, WorkPerSecond: -1, Queue: 0},
		FarToNear: Budget{EnvelopesPerSecond: maxEnvelopesPerSecond + 1, KiBPerSecond: 0, WorkPerSecond: maxWorkPerSecond + 1, Queue: maxQueue + 1},
		Remember:  maxRemember + 1,
		Topics:    []string{"0x00000001", "00000002", "0x0003", "0xgggggggg", "", "0x00000001"},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, key := range []string{
		"near_to_far.envelopes_per_second", "near_to_far.kib_per_second", "near_to_far.work_per_second", "near_to_far.queue",
		"far_to_near.envelopes_per_second", "far_to_near.kib_per_second", "far_to_near.work_per_second", "far_to_near.queue",
		"remember", "topics[1]", "topics[2]", "topics[3]", "topics[4]", "topics[5]",
	} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%q is missing in: %v", key, err)
		}
	}
	if strings.Contains(err.Error(), "topics[0]: ") {
		t.Errorf("a good topic is refused: %v", err)
	}
}

func TestMemoryMustHoldWhatTheBudgetsCarry(t *testing.T) {
	c := DefaultConfig()
	c.Remember = 24_000 // 200 a second for 2 minutes
	if err := c.Validate(); err != nil {
		t.Errorf("just enough: %v", err)
	}
	c.FarToNear.EnvelopesPerSecond++
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "remember: ") {
		t.Errorf("too few: %v, want a fault of remember", err)
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	for _, c := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Budget]()} {
		for i := range c.NumField() {
			f := c.Field(i)
			if f.Tag.Get("yaml") == "" || !strings.HasSuffix(f.Tag.Get("comment"), ".") {
				t.Errorf("%s: tag %q", f.Name, f.Tag)
			}
		}
	}
}

func TestExampleConfigurationSaysTheDefaults(t *testing.T) {
	cfg, err := kernel.Load([]string{filepath.Join("testdata", "bridge.yaml")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kernel.Decode(cfg.Layers["bridge"], Config{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Topics = nil; !reflect.DeepEqual(c, DefaultConfig()) {
		t.Errorf("got %+v, want %+v", c, DefaultConfig())
	}
}
