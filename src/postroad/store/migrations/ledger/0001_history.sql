-- The history of messages: what came, what was tried, what came back. about: the message that a notification is about.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    accepted_at REAL NOT NULL,
    sender TEXT NOT NULL,
    user TEXT,
    peer TEXT NOT NULL,
    helo TEXT NOT NULL,
    protocol TEXT NOT NULL,
    size INTEGER NOT NULL,
    header_id TEXT,
    held TEXT,
    about INTEGER
);
CREATE INDEX message_accepted ON message (accepted_at);
CREATE INDEX message_header ON message (header_id) WHERE header_id IS NOT NULL;
CREATE INDEX message_about ON message (about) WHERE about IS NOT NULL;

-- position: its place in the envelope. fate: NULL while it waits.
CREATE TABLE recipient (
    message_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    row INTEGER,
    fate TEXT,
    at REAL NOT NULL,
    PRIMARY KEY (message_id, address)
) WITHOUT ROWID;
CREATE INDEX recipient_address ON recipient (lower(address), message_id);

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
    secured TEXT NOT NULL,
    dialogue TEXT,
    PRIMARY KEY (message_id, address, number)
) WITHOUT ROWID;

-- What happened beside deliveries: a late bounce, a complaint, an operator's hold.
CREATE TABLE note (
    message_id INTEGER NOT NULL,
    at REAL NOT NULL,
    address TEXT NOT NULL,
    what TEXT NOT NULL,
    said TEXT NOT NULL
);
CREATE INDEX note_message ON note (message_id);
