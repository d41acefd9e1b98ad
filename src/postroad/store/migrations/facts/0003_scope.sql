-- scope: for whose mail an entry holds: empty for everybody's; a sender's address, domain, or `list:name`.
-- expires_at NULL: for ever.
CREATE TABLE suppression_of_scope (
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    cause TEXT NOT NULL,
    added_at REAL NOT NULL,
    expires_at REAL,
    note TEXT NOT NULL,
    mailbox TEXT,
    PRIMARY KEY (name, scope)
) WITHOUT ROWID;
INSERT INTO suppression_of_scope SELECT name, '', cause, added_at, NULL, note, mailbox FROM suppression;
DROP TABLE suppression;
ALTER TABLE suppression_of_scope RENAME TO suppression;
CREATE INDEX suppression_mailbox ON suppression (mailbox);
CREATE INDEX suppression_expiry ON suppression (expires_at) WHERE expires_at IS NOT NULL;
