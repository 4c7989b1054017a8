package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCopies bounds the pinned files of a plugin in bytes; their copies are in
// memory.
const maxCopies = 256 << 20

// copies is where they are in the new root.
const copies = "/.pinned"

// root is a new root folder under construction: an empty file system in memory
// into which is mounted what the plugin may see.
type root struct{ path string }

// piece is a part of the old file system, taken before it is out of sight.
type piece struct {
	path   string
	mount  int // descriptor of a copy of the mount
	folder bool
}

// enterRoot replaces the root folder by one that contains nothing but what the
// plugin may use. Landlock guards files, but not sockets that have a path: they
// must not be there.
func (o order) enterRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private: %w", err)
	}
	var pieces []piece
	defer func() {
		for _, p := range pieces {
			unix.Close(p.mount)
		}
	}()
	take := func(paths []string, attributes uint64) error {
		for _, path := range paths {
			p, ok, err := takePiece(path, attributes)
			if err != nil {
				return err
			}
			if ok {
				pieces = append(pieces, p)
			}
		}
		return nil
	}
	const readOnly = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID
	// Folders before what is in them, and the plugin's own last.
	err := errors.Join(
		take(systemTrees(), readOnly|unix.MOUNT_ATTR_NODEV),
		take(systemDevices, unix.MOUNT_ATTR_NOSUID),
		take(slices.Sorted(slices.Values(o.Read)), readOnly|unix.MOUNT_ATTR_NODEV),
		take([]string{o.Dir, o.Run}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV),
	)
	if err != nil {
		return err
	}
	r := root{o.Run}
	pinned, err := o.openPins()
	defer func() {
		for _, f := range pinned {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	// It is mounted over a folder of which a copy was taken.
	if err := unix.Mount("tmpfs", r.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	if err := r.build(o, pieces, pinned); err != nil {
		return errors.Join(err, unix.Unmount(r.path, unix.MNT_DETACH))
	}
	return r.enter()
}

// systemTrees returns the folders and files of the system, without those that
// are links into others: they are made anew.
func systemTrees() []string {
	return slices.DeleteFunc(slices.Clone(systemFiles), func(path string) bool {
		_, link := systemLink(path)
		return link
	})
}

// systemLink returns where path leads, if it is a link at the top.
func systemLink(path string) (target string, ok bool) {
	if filepath.Dir(path) != "/" {
		return "", false
	}
	target, err := os.Readlink(path)
	return strings.TrimPrefix(target, "/"), err == nil
}

// takePiece copies the mount of a path. A path that does not exist is no error.
func takePiece(path string, attributes uint64) (piece, bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return piece{}, false, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return piece{}, false, fmt.Errorf("open_tree %s: %w", path, err)
	}
	attr := unix.MountAttr{Attr_set: attributes}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return piece{}, false, fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	return piece{path, fd, info.IsDir()}, true, nil
}

func (o order) openPins() (files []*os.File, err error) {
	for _, path := range slices.Sorted(maps.Keys(o.Pins)) {
		f, err := os.Open(path)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// build fills the new root.
func (r root) build(o order, pieces []piece, pinned []*os.File) error {
	for _, path := range systemFiles {
		if target, ok := systemLink(path); ok {
			if err := os.Symlink(target, r.path+path); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(r.path+"/tmp", 0o755); err != nil {
		return err
	}
	hidden := false
	for _, p := range pieces {
		// After the trees of the system, before what the plugin was given.
		if !hidden && !slices.Contains(systemFiles, p.path) && !slices.Contains(systemDevices, p.path) {
			hidden = true
			if err := r.hide(o.Hide); err != nil {
				return err
			}
		}
		if err := r.place(p); err != nil {
			return fmt.Errorf("place %s: %w", p.path, err)
		}
	}
	if err := r.pin(o, pinned); err != nil {
		return err
	}
	r.mountProc(o.Tasks)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, r.path, 0, &attr); err != nil {
		return fmt.Errorf("read only: %w", err)
	}
	return nil
}

// hide covers what is visible though it must not be.
func (r root) hide(paths []string) error {
	for _, path := range paths {
		if info, err := os.Stat(r.path + path); err != nil || !info.IsDir() {
			continue
		}
		if err := unix.Mount("tmpfs", r.path+path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64k"); err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	return nil
}

// place mounts a piece where it was.
func (r root) place(p piece) error {
	target := r.path + p.path
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	_, err := os.Lstat(target)
	switch {
	case err == nil: // it is in a tree that is there already
	case p.folder:
		err = os.Mkdir(target, 0o755)
	default:
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return unix.MoveMount(p.mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// pin puts copies of the pinned files in their places: what is checked is the
// copy, which nobody can change afterwards.
func (r root) pin(o order, pinned []*os.File) error {
	if len(pinned) == 0 {
		return nil
	}
	if err := os.Mkdir(r.path+copies, 0o755); err != nil {
		return err
	}
	room := int64(maxCopies)
	for i, f := range pinned {
		name := r.path + copies + "/" + strconv.Itoa(i)
		n, sum, err := copyFile(name, io.LimitReader(f, room))
		if err != nil {
			return err
		}
		if room -= n; room <= 0 {
			return fmt.Errorf("pinned files of more than %d bytes", maxCopies)
		}
		if err := compareSums(f.Name(), o.Pins[f.Name()], sum); err != nil {
			return err
		}
		p, _, err := takePiece(name, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID)
		if err != nil {
			return err
		}
		p.path = f.Name()
		err = r.place(p)
		unix.Close(p.mount)
		if err != nil {
			return fmt.Errorf("place %s: %w", p.path, err)
		}
	}
	return nil
}

func copyFile(name string, from io.Reader) (n int64, sum string, err error) {
	to, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o555)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	n, err = io.Copy(io.MultiWriter(to, h), from)
	return n, hex.EncodeToString(h.Sum(nil)), errors.Join(err, to.Close())
}

// mountProc mounts a /proc of the namespace, in which nothing of other
// processes is, and bounds their number there. Neither is possible everywhere:
// Landlock guards the former and the watch the latter too.
func (r root) mountProc(tasks int) {
	path := r.path + "/proc"
	if os.Mkdir(path, 0o755) != nil {
		return
	}
	if unix.Mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") != nil {
		return
	}
	// Since Linux 6.14 the file is the namespace's own. Before, the mount of an
	// unprivileged user may not write to it.
	_ = os.WriteFile(path+"/sys/kernel/pid_max", []byte(strconv.Itoa(tasks)), 0)
}

// enter makes the new root the root and forgets the old one.
func (r root) enter() error {
	if err := os.Chdir(r.path); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	// The old root is on top of the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("old root: %w", err)
	}
	return os.Chdir("/")
}
