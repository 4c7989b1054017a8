package transport

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestReadmeNamesEveryBreachRule(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("breach.go")
	if err != nil {
		t.Fatal(err)
	}
	names := func(text []byte, pattern string) (names []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		slices.Sort(names)
		return names
	}
	rules := names(source, `(?m)^\tRule\w+\s*= "(.*)"$`)
	if len(rules) == 0 {
		t.Fatal("no rules found")
	}
	if got := names(readme, "(?m)^\\| `([a-z]+\\.[a-z]+)` \\|"); !slices.Equal(got, rules) {
		t.Errorf("the page has %v, the package %v", got, rules)
	}
	if got := names(source, `(?m)^//\t([a-z]+\.[a-z]+)  `); !slices.Equal(got, rules) {
		t.Errorf("the doc of Breach has %v, the package %v", got, rules)
	}
}
