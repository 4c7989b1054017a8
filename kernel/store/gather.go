package store

import (
	"io"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// gatheringVFS stands above the encryption and gathers what SQLite appends to
// the WAL until it must be written.
//
// SQLite writes a frame as 24 and 4096 bytes, at no particular offset. The
// cipher works on blocks of 4096 bytes and would read, decrypt, change and
// encrypt up to three of them for every frame, most of them twice. Gathered, a
// transaction is one write, and every block is encrypted once.
type gatheringVFS struct{ vfs.VFS }

// OpenFilename implements vfs.VFSFilename.
func (g *gatheringVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(g.VFS, name, flags)
	if err != nil || flags&vfs.OPEN_WAL == 0 {
		return f, flags, err
	}
	return &gatheringFile{File: f}, flags, nil
}

// Bounds of what is gathered.
const (
	gatherBlock = 4096      // bytes: the cipher's block
	maxGather   = 256 << 10 // bytes; more is written at once
)

// gatheringFile is a WAL. Its buffer holds the bytes of the file from offset
// start on, of which those from dirty on are not yet in the file below. start is
// the beginning of a block where it can be, so that the cipher need not read the
// block to write it.
//
// What has been taken is never given up: when a write below fails, SQLite hears
// of it and undoes its transaction, but an earlier one may reach into the
// buffer, because SQLite fills the sector behind a commit with a frame that it
// does not wait for, and reads later.
type gatheringFile struct {
	vfs.File
	buffer []byte
	start  int64
	dirty  int64 // start <= dirty <= end
}

func (g *gatheringFile) end() int64 { return g.start + int64(len(g.buffer)) }

// WriteAt implements io.WriterAt.
func (g *gatheringFile) WriteAt(p []byte, off int64) (int, error) {
	if off < g.start || off > g.end() || len(g.buffer) == 0 {
		if err := g.flush(); err != nil {
			return 0, err
		}
		g.buffer, g.start, g.dirty = g.buffer[:0], off, off
	}
	n := copy(g.buffer[off-g.start:], p)
	g.buffer = append(g.buffer, p[n:]...)
	g.dirty = min(g.dirty, off)
	if len(g.buffer) >= maxGather {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush writes what is gathered, and keeps the last block if it is not full.
func (g *gatheringFile) flush() error {
	end := g.end()
	if g.dirty == end {
		return nil
	}
	n, err := g.File.WriteAt(g.buffer, g.start)
	if err == nil && n < len(g.buffer) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	keep := max(end&^(gatherBlock-1), g.start)
	n = copy(g.buffer, g.buffer[keep-g.start:])
	g.buffer, g.start, g.dirty = g.buffer[:n], keep, end
	return nil
}

// ReadAt implements io.ReaderAt.
func (g *gatheringFile) ReadAt(p []byte, off int64) (n int, err error) {
	if len(g.buffer) == 0 || off+int64(len(p)) <= g.start {
		return g.File.ReadAt(p, off)
	}
	if off < g.start {
		if n, err = g.File.ReadAt(p[:g.start-off], off); err != nil {
			return n, err
		}
	}
	if at := off + int64(n) - g.start; at < int64(len(g.buffer)) {
		n += copy(p[n:], g.buffer[at:])
	}
	if n < len(p) {
		m, err := g.File.ReadAt(p[n:], off+int64(n))
		return n + m, err
	}
	return n, nil
}

// Sync implements vfs.File.
func (g *gatheringFile) Sync(flags vfs.SyncFlag) error {
	if err := g.flush(); err != nil {
		return err
	}
	return g.File.Sync(flags)
}

// Size implements vfs.File. A block that was cut off by a full disk or a crash
// cannot be decrypted and does not count: SQLite would give up the whole WAL
// for not being able to read its end.
func (g *gatheringFile) Size() (int64, error) {
	size, err := g.File.Size()
	size &^= gatherBlock - 1
	if len(g.buffer) > 0 {
		size = max(size, g.end())
	}
	return size, err
}

// Truncate implements vfs.File.
func (g *gatheringFile) Truncate(size int64) error {
	if err := g.flush(); err != nil {
		return err
	}
	g.buffer, g.start, g.dirty = g.buffer[:0], 0, 0
	return g.File.Truncate(size)
}

// Close implements vfs.File.
func (g *gatheringFile) Close() error {
	err := g.flush()
	if e := g.File.Close(); err == nil {
		err = e
	}
	return err
}
