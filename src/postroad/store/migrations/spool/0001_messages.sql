-- Bodies come last in their row, so that reading an envelope never walks the body's pages.
-- sender_local and sender_domain are both NULL for the null reverse-path.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    received_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    sender_local TEXT,
    sender_domain TEXT,
    body_type TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT,
    envid TEXT,
    peer TEXT NOT NULL,
    helo TEXT NOT NULL,
    protocol TEXT NOT NULL,
    user TEXT,
    size INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- due_at NULL: set aside, its message is in the table damaged.
CREATE TABLE recipient (
    id INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    local TEXT NOT NULL,
    domain TEXT NOT NULL,
    notify TEXT,
    orcpt TEXT,
    due_at REAL,
    attempts INTEGER NOT NULL,
    delay_notified INTEGER NOT NULL
);
CREATE INDEX recipient_due ON recipient (due_at);
CREATE INDEX recipient_message ON recipient (message_id);

CREATE TABLE attempt (
    message_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    address TEXT NOT NULL,
    at REAL NOT NULL,
    host TEXT NOT NULL,
    phase TEXT NOT NULL,
    reply TEXT NOT NULL,
    meaning TEXT NOT NULL,
    PRIMARY KEY (message_id, recipient_id, number)
) WITHOUT ROWID;

CREATE TABLE damaged (
    message_id INTEGER PRIMARY KEY,
    reason TEXT NOT NULL
);

CREATE TRIGGER message_gone AFTER DELETE ON message BEGIN
    DELETE FROM attempt WHERE message_id = old.id;
    DELETE FROM damaged WHERE message_id = old.id;
END;

-- name: 'identity' of this database; 'id_floor', ids up to it may have been used; 'adopted <identity>', the last
-- message taken over from that database, then those of it that could not be read.
CREATE TABLE fact (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
INSERT INTO fact VALUES ('identity', hex(randomblob(16)));
INSERT INTO fact VALUES ('id_floor', 0);
