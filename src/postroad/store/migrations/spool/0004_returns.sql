-- Recipients that an operator gives back to their sender: the server that owns the spool does it, with a notification.
CREATE TABLE giving_back (
    message_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    words TEXT NOT NULL,
    PRIMARY KEY (message_id, recipient_id)
) WITHOUT ROWID;
