package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/stratanode/strata/plugins/python"
)

// scaffolds are the projects that "plugin new" writes, a folder for each
// language. Names ending in .tmpl are templates over newPlugin.
//
//go:embed scaffold
var scaffolds embed.FS

// pluginName is what a transport may be called: Info.Name, a folder, a program.
var pluginName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// newPlugin is what the flags of "plugin new" say, and what templates may use.
type newPlugin struct {
	Name    string   `json:"name"`
	Lang    string   `json:"lang"`
	Dir     string   `json:"dir"`
	Strata  string   `json:"strata,omitempty"` // a checkout of this module
	Version string   `json:"-"`                // of this module
	Files   []string `json:"files"`
}

func newPluginNewCommand() *cobra.Command {
	var p newPlugin
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a project for a transport of your own",
		Long: `New makes a folder with a complete transport that floods envelopes over UDP, with
its test and a configuration for two nodes, so that you change what works. A name
has letters a-z, digits and -.

In Go, the project uses this module from the checkout that this program was built
from, or from that of --strata.`,
		Example: "  strata plugin new mine && cd mine && go build && strata plugin test ./mine\n" +
			"  strata plugin new mine --lang python && cd mine && strata plugin test ./mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !pluginName.MatchString(args[0]) {
				return misused(errors.New("say how the transport is called: a name of a-z, 0-9 and -, at most 32 of them"))
			}
			p.Name, p.Version = args[0], version().Version
			if err := p.resolve(); err != nil {
				return misused(err)
			}
			if err := p.write(); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s has %s\nread its README.md\n", p.Dir, strings.Join(p.Files, ", "))
			return err
		},
	}
	cmd.Flags().StringVar(&p.Lang, "lang", "go", "go or python")
	cmd.Flags().StringVar(&p.Dir, "dir", "", "the folder to make (default: the name)")
	cmd.Flags().StringVar(&p.Strata, "strata", "", "a checkout of "+version().Module)
	jsonFlag(cmd, &asJSON, "one JSON object: name, lang, dir, files")
	return cmd
}

// resolve fills in what the flags left out.
func (p *newPlugin) resolve() (err error) {
	if p.Lang != "go" && p.Lang != "python" {
		return fmt.Errorf("--lang: %q is none of go, python", p.Lang)
	}
	if p.Dir == "" {
		p.Dir = p.Name
	}
	if p.Strata == "" {
		p.Strata = findCheckout(p.Version)
		return nil
	}
	if p.Strata, err = filepath.Abs(p.Strata); err != nil {
		return err
	}
	if !isCheckout(p.Strata) {
		return fmt.Errorf("--strata: %s is no checkout of %s", p.Strata, version().Module)
	}
	return nil
}

// findCheckout returns the folder that this program was built from, if it was
// not built from a published version, and is still there.
func findCheckout(version string) string {
	if isPublished(version) {
		return ""
	}
	var starts []string
	if _, file, _, ok := runtime.Caller(0); ok { // wrong, and harmless, with -trimpath
		starts = append(starts, filepath.Dir(file))
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for ; filepath.IsAbs(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if isCheckout(dir) {
				return dir
			}
		}
	}
	return ""
}

// isPublished reports whether a version can be had from a module proxy.
func isPublished(version string) bool {
	return strings.HasPrefix(version, "v") && !strings.HasPrefix(version, "v0.0.0-") && !strings.Contains(version, "+")
}

func isCheckout(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(text, []byte("module "+version().Module+"\n"))
}

// Require is the version that a go.mod names; a replaced one can be any.
func (p *newPlugin) Require() string {
	if isPublished(p.Version) {
		return p.Version
	}
	return "v0.0.0"
}

// write makes the project in a folder that is new or empty.
func (p *newPlugin) write() error {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(p.Dir)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty", p.Dir)
	}
	if err := p.copyTree(scaffolds, path.Join("scaffold", p.Lang)); err != nil {
		return err
	}
	if p.Lang == "python" {
		if err := p.copyTree(python.Files, "."); err != nil {
			return err
		}
	}
	slices.Sort(p.Files)
	return nil
}

// copyTree writes the files of a folder without folders.
func (p *newPlugin) copyTree(tree fs.FS, dir string) error {
	entries, err := fs.ReadDir(tree, dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(tree, path.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		if err := p.writeFile(entry.Name(), text); err != nil {
			return fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	return nil
}

func (p *newPlugin) writeFile(name string, text []byte) error {
	mode := os.FileMode(0o644)
	name, isTemplate := strings.CutSuffix(name, ".tmpl")
	if isTemplate {
		t, err := template.New(name).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return err
		}
		text = b.Bytes()
	}
	if name == "strata_udp.py" { // the example becomes the project
		name, mode = p.Name, 0o755
		text = bytes.Replace(text, []byte(`name="python-udp"`), []byte(fmt.Sprintf("name=%q", p.Name)), 1)
	}
	if name == "gitignore" {
		name = ".gitignore" // go:embed leaves out names with a dot
	}
	p.Files = append(p.Files, name)
	return os.WriteFile(filepath.Join(p.Dir, name), text, mode)
}
