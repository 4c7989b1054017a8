-- Up to when, in unix seconds, everything of another mail server is here: so that
-- what one server took over the others that share the database need not.
CREATE TABLE archive_source (
	id     text   NOT NULL PRIMARY KEY,
	until  bigint NOT NULL
);
