-- How many recipients came in and what became of them, counted in the transaction that makes it so: after a crash too,
-- accepted + generated = those still here + delivered + bounced + dropped + discarded + removed.
CREATE TABLE tally (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tally SELECT 'accepted', count(*) FROM recipient;
