package kernel

import (
	"reflect"
	"strings"
	"testing"
)

func TestDocumentIsReadBackAsItWas(t *testing.T) {
	var b strings.Builder
	if err := Document(&b, "", DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	b.WriteString("layers:\n  datasync:\n    use: mvds\n")
	if err := Document(&b, "    settings", defaultSample()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "/home/ada")
	c, s, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if want := defaultSample(); !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	want := DefaultConfig()
	want.DataDir = "/home/ada/.strata"
	if c.DataDir != want.DataDir || c.Log != want.Log || c.Store != want.Store {
		t.Errorf("got %+v", c)
	}
}

func TestDocumentExplainsEveryKey(t *testing.T) {
	var b strings.Builder
	if err := Document(&b, "  settings", defaultSample()); err != nil {
		t.Fatal(err)
	}
	const want = `  settings:
    # wait for an acknowledgement
    retransmit_after: 5s
    # then the message has failed
    max_attempts: 10
    level: 1
    share: 0.5
    relay: false
    password: ""
    pin_file: ""
    peers: [a, b]
    waits: [1s, 1h30m]
    limits:
      x: 1
    # what is inside
    inner:
      # how deep
      depth: 2
      name: "no: body, [really]"
    named:
      one:
        # how deep
        depth: 1
        name: uno
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestLongCommentsAreBroken(t *testing.T) {
	var b strings.Builder
	if err := Document(&b, "", DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > commentWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

func TestEffectiveHidesSecrets(t *testing.T) {
	s := defaultSample()
	s.Password = "hunter2"
	var b strings.Builder
	if err := Effective(&b, "settings", s); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "  password: (hidden)\n") || strings.Contains(text, "#") {
		t.Errorf("got\n%s", text)
	}
	b.Reset()
	if err := Effective(&b, "settings", defaultSample()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "  password: \"\"\n") {
		t.Errorf("a secret that is not set is not shown as such:\n%s", b.String())
	}
}
