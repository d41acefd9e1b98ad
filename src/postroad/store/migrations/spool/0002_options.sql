-- held: why a message waits for an operator; its recipients have no due_at then. options: rarer wishes, as JSON.
-- stream: whose mail it is, for fairness. The table is made anew so that bodies stay last in their row.
CREATE TABLE message_with_options (
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
    priority INTEGER NOT NULL,
    stream TEXT NOT NULL,
    held TEXT,
    options TEXT,
    size INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
);
INSERT INTO message_with_options
    SELECT id, received_at, expires_at, sender_local, sender_domain, body_type, smtputf8, ret, envid, peer, helo,
        protocol, user, 0, coalesce(user, sender_domain, ''), NULL, NULL, size, crc, body
    FROM message;
DROP TABLE message;
ALTER TABLE message_with_options RENAME TO message;

CREATE TRIGGER message_gone AFTER DELETE ON message BEGIN
    DELETE FROM attempt WHERE message_id = old.id;
    DELETE FROM damaged WHERE message_id = old.id;
END;

ALTER TABLE recipient ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recipient ADD COLUMN stream TEXT NOT NULL DEFAULT '';
UPDATE recipient SET stream = ifnull((SELECT stream FROM message WHERE message.id = message_id), '');

-- With the priority in it, what is urgent is found behind any amount of bulk without a look at the rows.
DROP INDEX recipient_due;
CREATE INDEX recipient_due ON recipient (due_at, id, priority);
