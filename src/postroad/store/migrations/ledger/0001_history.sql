-- The history of messages: what came, what was tried, what came back. about: the message that a notification is about.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    accepted_at REAL NOT NULL,
    sender TEXT NOT NULL,
    user TEXT,
    peer TEXT NOT NULL,
    helo TEXT NOT NULL,
    protocol TEXT NOT NULL,
    listener TEXT NOT NULL,
    secured TEXT NOT NULL,
    size INTEGER NOT NULL,
    header_id TEXT,
    subject TEXT,
    held TEXT,
    about INTEGER
);
CREATE INDEX message_sender ON message (sender COLLATE NOCASE);
CREATE INDEX message_header ON message (header_id) WHERE header_id IS NOT NULL;
CREATE INDEX message_about ON message (about) WHERE about IS NOT NULL;

-- fate: NULL while it waits. row: its row in the spool, once it was tried.
CREATE TABLE recipient (
    message_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    row INTEGER,
    fate TEXT,
    at REAL NOT NULL,
    PRIMARY KEY (message_id, address)
) WITHOUT ROWID;
CREATE INDEX recipient_address ON recipient (address COLLATE NOCASE);

-- told_with: of several recipients of one dialogue it stands with that one alone.
CREATE TABLE attempt (
    message_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    host TEXT NOT NULL,
    phase TEXT NOT NULL,
    reply TEXT NOT NULL,
    meaning TEXT NOT NULL,
    rule TEXT NOT NULL,
    due_at REAL,
    source TEXT NOT NULL,
    secured TEXT NOT NULL,
    told_with TEXT,
    dialogue TEXT
);
CREATE INDEX attempt_message ON attempt (message_id);

-- What happened beside deliveries: a late bounce, a complaint, an operator's hold.
CREATE TABLE note (
    message_id INTEGER NOT NULL,
    at REAL NOT NULL,
    address TEXT NOT NULL,
    what TEXT NOT NULL,
    said TEXT NOT NULL
);
CREATE INDEX note_message ON note (message_id);
