package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/archive"
	"github.com/stratanode/strata/actors/edge/bridge"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers/transport"
)

// What can keep the envelopes of a mail server.
const (
	useSQLite   = "sqlite"
	usePostgres = "postgres"
)

// archiveUse returns what keeps an archive with that database.
func archiveUse(database string) string {
	if database == "" {
		return useSQLite
	}
	return usePostgres
}

// archiveConfig reads the section of the archive.
func archiveConfig(sec kernel.Section) (archive.Config, error) {
	c, err := kernel.Decode(sec, archive.DefaultConfig())
	if err != nil {
		return c, err
	}
	postgres := strings.HasPrefix(c.Database, "postgres://") || strings.HasPrefix(c.Database, "postgresql://")
	switch {
	case sec.Use != useSQLite && sec.Use != usePostgres:
		return c, unknown(sec, useSQLite, usePostgres)
	case sec.Use == useSQLite && c.Database != "":
		return c, sec.Fault("database", "is for use: postgres; sqlite keeps a file in the data folder")
	case sec.Use == usePostgres && !postgres:
		return c, sec.Fault("database", "want a URL that begins with postgres://")
	}
	return c, nil
}

// standArchive puts the archive of a mail server on the transport, and on the
// other one of a bridge.
func standArchive(s *actors.Stack, cfg kernel.Config, r *residents, log *slog.Logger) error {
	sec, ok, err := resident(cfg, "archive", transportSlot)
	if !ok {
		return err
	}
	c, err := archiveConfig(sec)
	if err != nil {
		return err
	}
	if !actors.Has(s, transportSlot) {
		return nil // which has a fault of its own
	}
	r.archive = archive.New(c, cfg.DataDir, log)
	r.archive.Stand(s, transportSlot)
	if actors.Has(s, bridge.FarSlot) {
		r.archive.StandFar(bridge.FarSlot)
	}
	return nil
}

// archived is the archive of a running node as the API sees it.
type archived struct{ *archive.Archive }

// apiArchive returns the archive for the API, or nil if there is none.
func (r *residents) apiArchive() rpc.Archive {
	if r.archive == nil {
		return nil
	}
	return archived{r.archive}
}

// Stats implements rpc.Archive.
func (a archived) Stats(ctx context.Context) (any, error) { return a.Archive.Stats(ctx) }

// Verify implements rpc.Archive.
func (a archived) Verify(ctx context.Context) (any, error) {
	return a.Archive.Verify(ctx, func(int, int) {})
}

// Sync implements rpc.Archive.
func (a archived) Sync(ctx context.Context, t rpc.Takeover) (any, error) {
	return a.Archive.Sync(ctx, archive.SyncRange{Server: t.Server, From: t.From, To: t.To}, func(archive.Synced) {})
}

// Find implements rpc.Archive.
func (a archived) Find(ctx context.Context, h transport.Hash) (time.Time, bool, error) {
	return a.Archive.Find(ctx, h)
}
