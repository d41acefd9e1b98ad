CREATE TABLE alias (
    name TEXT PRIMARY KEY,
    targets TEXT NOT NULL,
    note TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE long_sender (
    name TEXT PRIMARY KEY,
    sender TEXT NOT NULL,
    seen_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX long_sender_seen ON long_sender (seen_at);
