package host

import (
	"os"
	"os/exec"
)

// tree is a plugin's process. Its children are lost sight of.
type tree struct{ process *os.Process }

func setGroup(*exec.Cmd) {}

// usage is unknown on this system.
func (t *tree) usage() usage { return usage{} }

func (t *tree) kill() {
	// It is gone already if it fails.
	_ = t.process.Kill()
}

// release ends what is left.
func (t *tree) release() { t.kill() }
