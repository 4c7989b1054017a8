package archive

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// sqliteMigrations bring a database forward, one version each. They are only
// ever appended to.
//
// The contents lie apart and in the order of arrival, so that the rows of
// envelope are short and those of one time lie together: scanning by time reads
// them and no contents. The index by topic holds all that a search by topic
// needs.
var sqliteMigrations = []string{
	`CREATE TABLE envelope (
		key     BLOB NOT NULL PRIMARY KEY,
		topic   INTEGER NOT NULL,
		span    INTEGER NOT NULL,
		ttl     INTEGER NOT NULL,
		arrived BLOB,
		form    INTEGER NOT NULL,
		size    INTEGER NOT NULL,
		content INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX envelope_by_topic ON envelope (span, topic, key);
	CREATE INDEX envelope_early ON envelope (arrived) WHERE arrived IS NOT NULL;
	CREATE TABLE content (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
	CREATE TABLE total (
		id   INTEGER PRIMARY KEY CHECK (id = 1),
		rows INTEGER NOT NULL,
		size INTEGER NOT NULL
	) STRICT;
	INSERT INTO total (id, rows, size) VALUES (1, 0, 0);`,

	// Up to when everything of another mail server is here.
	`CREATE TABLE source (id TEXT NOT NULL PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
}

// sqliteSettings are those of the connection that writes. The log is long
// because the pages of the indexes that a second of traffic writes to are the
// same again in the next: the longer, the less often they go to the database.
const sqliteSettings = `
	PRAGMA page_size = 4096;
	PRAGMA auto_vacuum = INCREMENTAL;
	PRAGMA temp_store = memory;
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = FULL;
	PRAGMA cache_size = -32768;
	PRAGMA wal_autocheckpoint = 16384;
	PRAGMA journal_size_limit = 134217728;`

// sqliteReaderSettings are those of the connections that search.
const sqliteReaderSettings = `
	PRAGMA query_only = 1;
	PRAGMA temp_store = memory;
	PRAGMA cache_size = -%d;`

// Bounds of what the connections that search keep of the file, in KiB.
const (
	sqliteCache      = 24 << 10 // all of them together
	leastSQLiteCache = 1 << 10  // each
)

func migrateSQLite(conn *sqlite3.Conn, migrations []string) error {
	// What is read must not be old news when it is written: another process
	// may be about the same.
	if err := conn.Exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	version, err := number64(conn, `PRAGMA user_version`)
	if err == nil && version > int64(len(migrations)) {
		err = fmt.Errorf("%s was written by a newer version: schema %d, known is %d", sqliteName, version, len(migrations))
	}
	for ; err == nil && version < int64(len(migrations)); version++ {
		err = conn.Exec(fmt.Sprintf("%s; PRAGMA user_version = %d", strings.TrimSuffix(migrations[version], ";"), version+1))
	}
	if err != nil {
		return errors.Join(err, conn.Exec(`ROLLBACK`))
	}
	return conn.Exec(`COMMIT`)
}

// number64 returns the one number that a statement is about.
func number64(conn *sqlite3.Conn, sql string) (int64, error) {
	s, _, err := conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if !s.Step() {
		return 0, errors.Join(errors.New("no row"), s.Err())
	}
	return s.ColumnInt64(0), nil
}
