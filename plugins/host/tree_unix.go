//go:build unix && !linux

package host

import (
	"os"
	"os/exec"
	"syscall"
)

// tree is a plugin's process group. What leaves the group is lost sight of.
type tree struct{ process *os.Process }

func setGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// usage is unknown on this system.
func (t *tree) usage() usage { return usage{} }

func (t *tree) kill() {
	// There is nobody left to signal if it fails.
	_ = syscall.Kill(-t.process.Pid, syscall.SIGKILL)
}

// release ends what is left.
func (t *tree) release() { t.kill() }
