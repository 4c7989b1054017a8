//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Shim does nothing on this system, which has no confinement.
func Shim() {}

// systemEnvironment returns the variables every program may want.
func systemEnvironment() []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	if runtime.GOOS == "windows" {
		env = append(env, "SYSTEMROOT="+os.Getenv("SYSTEMROOT"))
	}
	return env
}

// spawn starts the program with the environment. The file is checked and
// executed by its path: there is no other way here, so that somebody who may
// write to its folder can exchange it in between.
func (c *child) spawn(_ context.Context, env []string) error {
	c.confine = "none: " + runtime.GOOS + " is not supported"
	if c.command.Confine == Required {
		return errors.New("confinement is required: " + c.confine)
	}
	now, err := stampOf(c.program.file)
	if err == nil && now != c.program.stamp {
		err = fmt.Errorf("%s: %w: it was changed while it was started", c.program.path, ErrChecksum)
	}
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: c.program.path, Args: c.program.args, Env: env, Dir: c.command.Dir}
	setGroup(cmd)
	if err := c.launch(cmd); err != nil {
		return fmt.Errorf("%s: %w", c.program.path, err)
	}
	c.own(&tree{process: c.process})
	return nil
}
