-- A row per envelope, as in the SQLite archive; see there for the indexes. The
-- topic is in the primary index so that a scan by time need not read rows.
CREATE TABLE archive_envelope (
	key     bytea    NOT NULL,
	topic   integer  NOT NULL,
	span    integer  NOT NULL,
	ttl     bigint   NOT NULL,
	arrived bytea,
	form    smallint NOT NULL,
	content bytea    NOT NULL,
	PRIMARY KEY (key) INCLUDE (topic)
);
-- Ciphertext does not become shorter.
ALTER TABLE archive_envelope ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX archive_envelope_by_topic ON archive_envelope (span, topic, key);
CREATE INDEX archive_envelope_early ON archive_envelope (arrived) WHERE arrived IS NOT NULL;

-- The distinct topics, how many rows each has, and when it came or went, so that
-- every server learns what the others have added.
CREATE TABLE archive_topic (
	topic   integer NOT NULL PRIMARY KEY,
	rows    bigint  NOT NULL,
	version bigint  NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX archive_topic_version ON archive_topic (version);

-- Who writes holds this row: so changes of topics become visible in the order of
-- their versions. What went before version floor is forgotten.
CREATE TABLE archive_state (
	id      integer NOT NULL PRIMARY KEY CHECK (id = 1),
	rows    bigint  NOT NULL,
	size    bigint  NOT NULL,
	version bigint  NOT NULL,
	floor   bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO archive_state (id, rows, size, version, floor) VALUES (1, 0, 0, 0, 0);
