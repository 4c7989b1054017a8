package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/kernel/store"
)

// filesBelow returns the files of a folder of the repository with an ending.
func filesBelow(t *testing.T, dir, ending string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ending) {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files %s in %s: %v", len(files), ending, dir, err)
	}
	return files
}

func TestEveryExampleConfigurationRuns(t *testing.T) {
	for _, file := range filesBelow(t, "configs", ".yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if code, out, errOut := command(t, "config", "check", file); code != exitOK || !strings.HasPrefix(out, "ok: ") {
				t.Fatalf("check: code %d, %s%s", code, out, errOut)
			}
			dir := shortDir(t)
			plain, err := (&fileFlags{files: []string{file}}).load()
			if err != nil {
				t.Fatal(err)
			}
			// What must not be of this machine; everything else is as in the file.
			over := fmt.Sprintf("data_dir: %s\nstore: {scrypt_n: %d}\nlayers:\n", filepath.Join(dir, "data"), store.MinScryptN)
			if _, ok := plain.Layers["overlay"]; ok {
				over += "  overlay: {use: devp2p, settings: {listen: \"127.0.0.1:0\", nat: none}}\n"
			}
			for _, slot := range []string{"transport", "far"} {
				if plain.Layers[slot].Use == "libp2p" {
					over += "  " + slot + ": {use: libp2p, settings: {config: {listen: [/ip4/127.0.0.1/tcp/0]}}}\n"
				}
			}
			if plain.Layers["archive"].Use == usePostgres {
				over += fmt.Sprintf("  archive: {use: postgres, settings: {database: %q}}\n", postgres(t))
			}
			cfg, err := (&fileFlags{files: []string{file, write(t, filepath.Join(dir, "over.yaml"), over)}}).load()
			if err != nil {
				t.Fatal(err)
			}
			key := store.FileKey()
			if cfg.Store.Key == "passphrase" {
				key = store.PassphraseKey([]byte("secret"))
			}
			log := &watchedLog{}
			n, err := boot(cfg, key, slog.New(log), bootOptions{})
			if err != nil {
				t.Fatal(err)
			}
			id, err := n.server.Self(t.Context())
			if _, links := cfg.Layers["overlay"]; err != nil || links && id.Enode == "" {
				t.Errorf("the node does not know itself: %+v, %v", id, err)
			}
			var up []string
			for _, s := range n.kernel.Status() {
				if s.State != kernel.Running || s.Degraded || s.Restarts > 0 {
					t.Errorf("%s is %s: %s", s.Name, s.State, s.Reason)
				}
				up = append(up, s.Name)
			}
			want := append(slices.Collect(maps.Keys(cfg.Layers)), "rpc", "shh")
			slices.Sort(up)
			slices.Sort(want)
			if !slices.Equal(up, want) {
				t.Errorf("%q are up, want %q", up, want)
			}
			n.close()
			for _, s := range n.kernel.Status() {
				if s.State != kernel.Stopped {
					t.Errorf("%s is %s after the stop", s.Name, s.State)
				}
			}
			if _, err := net.Dial("unix", n.server.IPCPath()); err == nil {
				t.Error("the socket is served after the stop")
			}
			if lines := log.unexpected(); len(lines) > 0 {
				t.Errorf("logged %q", lines)
			}
		})
	}
}

func TestEveryConfigurationInTheDocumentsLoads(t *testing.T) {
	top, err := filepath.Glob(filepath.Join("..", "..", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(filesBelow(t, "docs", ".md"), top...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, block := range yamlBlocks(string(text)) {
			part := write(t, filepath.Join(t.TempDir(), fmt.Sprintf("%s-%d.yaml", filepath.Base(file), i)), block)
			cfg, err := (&fileFlags{files: []string{part}}).load()
			if err != nil {
				t.Errorf("%s, block %d: %v", file, i, err)
				continue
			}
			// A fragment need not have all layers: those it has not are added.
			if len(cfg.Layers) > 0 {
				for slot, use := range defaultUse {
					if _, ok := cfg.Layers[slot]; !ok {
						cfg.Layers[slot] = kernel.Section{Use: use}
					}
				}
			}
			if err := check(cfg); err != nil {
				t.Errorf("%s, block %d: %v", file, i, err)
			}
		}
	}
}

// yamlBlocks returns the blocks of a Markdown text that are marked as YAML.
func yamlBlocks(text string) (blocks []string) {
	const fence = "```"
	for {
		_, after, found := strings.Cut(text, fence+"yaml\n")
		if !found {
			return blocks
		}
		block, rest, _ := strings.Cut(after, "\n"+fence)
		blocks, text = append(blocks, block+"\n"), rest
	}
}

func TestYAMLBlocksAreFound(t *testing.T) {
	got := yamlBlocks("a\n```yaml\nx: 1\n```\n```go\nno\n```\n```yaml\ny: 2\nz: 3\n```\nend")
	if want := []string{"x: 1\n", "y: 2\nz: 3\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFaultsOfAConfigurationAreNamedWithTheirPlace(t *testing.T) {
	const whole = "layers:\n  overlay: {use: devp2p}\n  transport: {use: whisper}\n"
	for _, tt := range []struct {
		name, text string
		want       []string // place and field of every fault
	}{
		{"unknown key", "data_dir: x\ncolour: red\n", []string{":2:1: colour: "}},
		{"unknown key of the store", "store:\n  phrase: x\n", []string{":2:3: store.phrase: "}},
		{"unknown key of a layer", whole + "  envelope: {use: whisper}\n  secure:\n    use: ratchet\n    settings:\n      rotate: 3h\n", []string{":8:7: layers.secure.settings.rotate: "}},
		{"unknown key of an edge", "api: {htp: x}\n", []string{":1:7: api.htp: "}},
		{"wrong type", "layers:\n  overlay:\n    use: devp2p\n    settings: {max_peers: many}\n", []string{":4:16: layers.overlay.settings.max_peers: "}},
		{"wrong type of the layers", "layers: 3\n", []string{":1:1: layers: "}},
		{"missing unit", "layers:\n  overlay: {use: devp2p}\n  transport:\n    use: whisper\n    settings:\n      ttl: 15\n", []string{":6:7: layers.transport.settings.ttl: "}},
		{"missing unit of the API", "api:\n  call_timeout: 10\n", []string{":2:3: api.call_timeout: "}},
		{"out of bounds", "layers:\n  overlay: {use: devp2p}\n  transport:\n    use: whisper\n    settings: {pow_time: 0s}\n", []string{":5:16: layers.transport.settings.pow_time: "}},
		{"unknown slot", whole + "  attic: {use: sqlite}\n", []string{":4:3: layers.attic: "}},
		{"unknown protocol", "layers:\n  overlay: {use: devp2p}\n  transport:\n    use: pigeon\n", []string{":4:5: layers.transport.use: "}},
		{"unknown edge", "layers:\n  overlay: {use: quic}\n", []string{":2:13: layers.overlay.use: "}},
		{"no protocol", "layers:\n  overlay: {settings: {}}\n", []string{":2:3: layers.overlay: "}},
		{"upper layer without lower", "layers:\n  overlay: {use: devp2p}\n  envelope: {use: whisper}\n", []string{":3:3: layers.envelope: "}},
		{"no YAML", "layers: [\n", []string{":"}},
		{
			"several layers at once",
			"layers:\n  overlay: {use: devp2p, settings: {max_peers: -1}}\n  transport: {use: whisper, settings: {ttl: 1s}}\n" +
				"  envelope: {use: whisper}\n  secure: {use: ratchet, settings: {max_strangers: 0}}\n  datasync: {use: mvds, settings: {ack_delay: 1h}}\n" +
				"trace: {steps: -1}\n",
			[]string{
				":2:37: layers.overlay.settings.max_peers: ", ":3:40: layers.transport.settings.ttl: ",
				":5:37: layers.secure.settings.max_strangers: ", ":6:36: layers.datasync.settings.ack_delay: ", ":7:9: trace.steps: ",
			},
		},
	} {
		file := write(t, filepath.Join(t.TempDir(), "bad.yaml"), tt.text)
		for _, args := range [][]string{{"config", "check", file}, {"run", "-c", file}} {
			code, out, errOut := command(t, args...)
			if code != exitMisused || out != "" {
				t.Errorf("%s: %s: code %d, %q, want code %d", tt.name, args[0], code, out, exitMisused)
			}
			for _, want := range tt.want {
				if !strings.Contains(errOut, file+want) {
					t.Errorf("%s: %s says\n%swant %s", tt.name, args[0], errOut, want)
				}
			}
			if lines := strings.Count(errOut, file); lines != len(tt.want) {
				t.Errorf("%s: %s reports %d faults, want %d:\n%s", tt.name, args[0], lines, len(tt.want), errOut)
			}
		}
	}
}

func TestMissingConfigurationFileIsMisuse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.yaml")
	code, _, errOut := command(t, "config", "check", file)
	if code != exitMisused || !strings.Contains(errOut, file+": no such file") {
		t.Errorf("code %d: %s", code, errOut)
	}
}
