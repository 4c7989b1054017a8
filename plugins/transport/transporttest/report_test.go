package transporttest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

var example = Report{
	Name: "pigeon", Version: "0.1",
	Results: []Result{
		{Rule{"open.info", "Info has a name"}, Pass, "", 12 * time.Millisecond},
		{Rule{"deliver.once", "an envelope is reported once"}, Fail, `2 times <"twice">`, 1500 * time.Millisecond},
		{Rule{"peers.counted", "the number of peers is reported"}, Warn, "no report had it", 0},
		{Rule{"query.pages", "Query finds what was published"}, Skip, "Query is not declared", 0},
	},
}

func TestFormatsAreStable(t *testing.T) {
	for name, write := range map[string]func(Report, io.Writer) error{
		"report.txt": Report.Text, "report.json": Report.JSON, "report.xml": Report.JUnit,
	} {
		var got bytes.Buffer
		if err := write(example, &got); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.Bytes(), want)
		}
	}
}

func TestFormatsCanBeRead(t *testing.T) {
	var b bytes.Buffer
	if err := example.JSON(&b); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("JSON: %v, %s", err, b.Bytes())
	}
	b.Reset()
	if err := example.JUnit(&b); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Failures != 1 || len(suite.Cases) != 4 || suite.Cases[1].Failure == nil || suite.Cases[0].Failure != nil {
		t.Errorf("JUnit was read as %+v", suite)
	}
}

func TestVerdictNeedsAPassAndNoFailure(t *testing.T) {
	for _, c := range []struct {
		outcomes []Outcome
		want     bool
	}{
		{nil, false}, {[]Outcome{Skip}, false}, {[]Outcome{Pass, Warn, Skip}, true}, {[]Outcome{Pass, Fail}, false},
	} {
		var r Report
		for _, o := range c.outcomes {
			r.Results = append(r.Results, Result{Outcome: o})
		}
		if r.OK() != c.want {
			t.Errorf("%v: got %v, want %v", c.outcomes, r.OK(), c.want)
		}
	}
}

func TestRulesHaveDifferentNames(t *testing.T) {
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[a-z]+\.[a-z-]+$`)
	for _, r := range Rules() {
		if seen[r.ID] || !form.MatchString(r.ID) || r.Text == "" {
			t.Errorf("rule %q, %q", r.ID, r.Text)
		}
		seen[r.ID] = true
	}
	if len(seen) < 25 {
		t.Errorf("%d rules, want 25 at least", len(seen))
	}
}

// broken is a transport whose Open is given.
type broken struct {
	transport.Transport
	open func(context.Context) error
}

func (b broken) Open(ctx context.Context, _ transport.Options) (transport.Info, error) {
	return transport.Info{}, b.open(ctx)
}

func (broken) Close(context.Context) error { return nil }

// onlyFailure runs the suite and returns the one failure there should be.
func onlyFailure(t *testing.T, target Target) Result {
	t.Helper()
	r := Check(t.Context(), target, nil)
	var failures []Result
	for _, x := range r.Results {
		if x.Outcome == Fail {
			failures = append(failures, x)
		}
	}
	if len(r.Results) != len(rules) || len(failures) != 1 || r.OK() {
		t.Fatalf("%d results with the failures %v, want %d with one", len(r.Results), failures, len(rules))
	}
	return failures[0]
}

func TestWhatDoesNotOpenFailsOnceAndIsSkippedThen(t *testing.T) {
	for _, c := range []struct {
		open func(context.Context) error
		want string
	}{
		{func(context.Context) error { return errors.New("no \x1b[31mradio") }, "no "},
		{func(context.Context) error { panic("boom") }, "Open panicked: boom"},
	} {
		f := onlyFailure(t, Target{New: func(int) (transport.Transport, error) { return broken{open: c.open}, nil }})
		if f.Rule.ID != "open.alone" || !strings.Contains(f.Detail, c.want) || strings.Contains(f.Detail, "\x1b") {
			t.Errorf("got %s: %q, want open.alone: %q", f.Rule.ID, f.Detail, c.want)
		}
	}
}

func TestMethodThatHangsIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		err := within(t.Context(), time.Second, "Close", func(context.Context) error { <-release; return nil })
		if err == nil || err.Error() != "Close did not return within 1s" {
			t.Errorf("got %v", err)
		}
		close(release)
		err = within(t.Context(), time.Second, "Close", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the method's own error", err)
		}
	})
}

func TestWhatDoesNotStartFailsByItsName(t *testing.T) {
	f := onlyFailure(t, Target{New: func(int) (transport.Transport, error) { return nil, errors.New("no such file") }})
	if f.Rule.ID != "process.starts" || !strings.Contains(f.Detail, "no such file") {
		t.Errorf("got %s: %q", f.Rule.ID, f.Detail)
	}
}

func TestEndOfContextSkipsTheRest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r := Check(ctx, Target{New: func(int) (transport.Transport, error) { return nil, nil }}, func(Result) { n++; cancel() })
	if n != len(rules) {
		t.Errorf("%d reports, want %d", n, len(rules))
	}
	for _, x := range r.Results[1:] {
		if x.Outcome != Skip {
			t.Errorf("%s: %s, want skip", x.Rule.ID, x.Outcome)
		}
	}
}

func TestBadTargetIsAnError(t *testing.T) {
	good := func(int) (transport.Transport, error) { return broken{}, nil }
	for name, target := range map[string]Target{
		"New":     {},
		"Configs": {New: good, Configs: []string{"{}"}},
		"four":    {New: good, Configs: []string{"{}", "{}", "{}", "{}"}},
	} {
		r := Check(t.Context(), target, nil)
		if r.OK() || len(r.Results) != 1 || !strings.Contains(r.Results[0].Detail, "Target.") {
			t.Errorf("%s: got %+v", name, r.Results)
		}
	}
}

func TestPortsAreTheSameInAllSettings(t *testing.T) {
	b, err := newBench(Target{New: func(int) (transport.Transport, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	one, err1 := b.network()
	two, err2 := b.network()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	var a, c struct {
		Listen string
		Peers  []string
	}
	if err := errors.Join(json.Unmarshal([]byte(one.configs[0]), &a), json.Unmarshal([]byte(one.configs[1]), &c)); err != nil {
		t.Fatal(err)
	}
	if a.Listen != c.Peers[0] || c.Listen != a.Peers[0] || a.Peers[1] != c.Peers[1] || a.Listen == c.Listen {
		t.Errorf("got %v and %v", a, c)
	}
	if strings.Contains(two.configs[0], a.Listen) {
		t.Errorf("a second network has the address %s again", a.Listen)
	}
}

func TestIllegalReportsAreNoticed(t *testing.T) {
	info := transport.Info{MaxData: 3}
	good := transport.Envelope{Data: []byte("abc"), Sent: time.Unix(5, 0), TTL: time.Second}
	with := func(change func(*transport.Envelope)) transport.Report {
		e := good
		change(&e)
		return transport.Report{Envelopes: []transport.Envelope{good, e}}
	}
	negative := -1
	for name, r := range map[string]transport.Report{
		"empty":       {},
		"too many":    {Envelopes: make([]transport.Envelope, transport.MaxBatch+1)},
		"minus peers": {Peers: &negative},
		"outcome":     {Receipts: []transport.Receipt{{ID: 1}}},
		"no data":     with(func(e *transport.Envelope) { e.Data = nil }),
		"long data":   with(func(e *transport.Envelope) { e.Data = []byte("abcd") }),
		"no TTL":      with(func(e *transport.Envelope) { e.TTL = 0 }),
		"uneven TTL":  with(func(e *transport.Envelope) { e.TTL++ }),
		"uneven Sent": with(func(e *transport.Envelope) { e.Sent = e.Sent.Add(1) }),
	} {
		if illegal(r, info) == "" {
			t.Errorf("%s: not noticed", name)
		}
	}
	if fault := illegal(transport.Report{Envelopes: []transport.Envelope{good}}, info); fault != "" {
		t.Errorf("a good report: %s", fault)
	}
}

func TestOnlyChosenRulesAreChecked(t *testing.T) {
	target := Target{New: func(int) (transport.Transport, error) { return nil, errors.New("there is none") }}
	for _, tt := range []struct {
		only []string
		want []string
	}{
		{[]string{"publish.taken"}, []string{"publish.taken"}},
		{[]string{"receive.*", "publish.taken"}, []string{"publish.taken", "receive.waits", "receive.ends-on-cancel", "receive.ends-on-close", "receive.legal"}},
	} {
		target.Only = tt.only
		var got []string
		for _, r := range Check(t.Context(), target, nil).Results {
			got = append(got, r.Rule.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: checked %q, want %q", tt.only, got, tt.want)
		}
	}
	for _, bad := range []string{"publish.nothing", "[", ""} {
		if got, err := RulesNamed([]string{"open.alone", bad}); err == nil || !strings.Contains(err.Error(), strconv.Quote(bad)) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
		target.Only = []string{bad}
		if r := Check(t.Context(), target, nil); r.OK() {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	if all, err := RulesNamed(nil); err != nil || len(all) != len(Rules()) {
		t.Errorf("%d rules, %v", len(all), err)
	}
}
