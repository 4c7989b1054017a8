package transporttest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// Outcome is what became of a rule.
type Outcome string

const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Warn Outcome = "warn" // within the contract, but the author should know
	Skip Outcome = "skip" // does not apply, as Detail says
)

// Result is what is known about one rule.
type Result struct {
	Rule    Rule
	Outcome Outcome
	Detail  string // what was expected and what was seen; empty for most passes
	Took    time.Duration
}

// Report is the outcome of all rules, in the order of Rules.
type Report struct {
	Name, Version string // as the transport says in Info; empty if it did not open
	Results       []Result
	Partial       bool // not all rules were to be checked
}

// OK reports whether no rule failed and one passed at least.
func (r Report) OK() bool { return r.count(Fail) == 0 && r.count(Pass) > 0 }

func (r Report) count(o Outcome) int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == o {
			n++
		}
	}
	return n
}

// Line returns a result as one line of text, without a line break.
func (r Result) Line() string {
	line := fmt.Sprintf("%-4s  %-28s %6.2fs", r.Outcome, r.Rule.ID, r.Took.Seconds())
	if r.Outcome == Fail || r.Outcome == Warn {
		line += "  " + r.Rule.Text
	}
	if r.Detail != "" {
		line += "  (" + r.Detail + ")"
	}
	return line
}

// Text writes the report for people.
func (r Report) Text(w io.Writer) error {
	for _, result := range r.Results {
		if _, err := fmt.Fprintln(w, result.Line()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, r.Summary())
	return err
}

// Summary returns the last line of Text.
func (r Report) Summary() string {
	name := "the transport"
	if r.Name != "" {
		name = r.Name + " " + r.Version
	}
	verdict := "conforms"
	switch {
	case !r.OK():
		verdict = "DOES NOT CONFORM"
	case r.Partial:
		verdict = "conforms to these rules"
	}
	return fmt.Sprintf("%s %s: %d passed, %d failed, %d warnings, %d do not apply",
		name, verdict, r.count(Pass), r.count(Fail), r.count(Warn), r.count(Skip))
}

// JSON writes the report as one JSON object.
func (r Report) JSON(w io.Writer) error {
	type result struct {
		Rule    string  `json:"rule"`
		Text    string  `json:"text"`
		Outcome Outcome `json:"outcome"`
		Detail  string  `json:"detail,omitempty"`
		Millis  int64   `json:"took_ms"`
	}
	out := struct {
		Name    string   `json:"name"`
		Version string   `json:"version"`
		OK      bool     `json:"ok"`
		Results []result `json:"results"`
	}{r.Name, r.Version, r.OK(), []result{}}
	for _, x := range r.Results {
		out.Results = append(out.Results, result{x.Rule.ID, x.Rule.Text, x.Outcome, x.Detail, x.Took.Milliseconds()})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(out)
}

// JUnit writes the report as JUnit XML, which most CI systems read.
func (r Report) JUnit(w io.Writer) error {
	type note struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Class   string `xml:"classname,attr"`
		Name    string `xml:"name,attr"`
		Time    string `xml:"time,attr"`
		Failure *note  `xml:"failure"`
		Skipped *note  `xml:"skipped"`
		Output  string `xml:"system-out,omitempty"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	name := "transport"
	if r.Name != "" {
		name += " " + r.Name + " " + r.Version
	}
	suite := testsuite{Name: name, Tests: len(r.Results), Failures: r.count(Fail), Skipped: r.count(Skip)}
	total := time.Duration(0)
	for _, x := range r.Results {
		c := testcase{Class: "transporttest", Name: x.Rule.ID, Time: fmt.Sprintf("%.3f", x.Took.Seconds())}
		switch x.Outcome {
		case Fail:
			c.Failure = &note{x.Rule.Text + ": " + x.Detail}
		case Skip:
			c.Skipped = &note{x.Detail}
		default:
			c.Output = x.Detail
		}
		total += x.Took
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = fmt.Sprintf("%.3f", total.Seconds())
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
