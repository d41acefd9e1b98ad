-- Who is not heard. `subject`: a network (`192.0.2.1/32`) or the name of an account, in small letters.
-- `reach`: `auth` (its AUTH and its connections to submission) or `all`. Times by the wall clock; `until` 9e15: for good.
CREATE TABLE ban (
    subject TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    reach TEXT NOT NULL,
    made_at REAL NOT NULL,
    until REAL NOT NULL,
    times INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX ban_end ON ban (until);

-- Grows with each change of the bans, so that servers notice.
CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
INSERT INTO revision (id, number) VALUES (1, 0);

-- Greylisted triplets.
CREATE TABLE greylist (
    network TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    passed INTEGER NOT NULL,
    PRIMARY KEY (network, sender, recipient)
) WITHOUT ROWID;
CREATE INDEX greylist_age ON greylist (passed, last_at);

-- How many triplets of a network came again.
CREATE TABLE greylist_network (
    network TEXT PRIMARY KEY,
    passes INTEGER NOT NULL,
    last_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX greylist_network_age ON greylist_network (last_at);
