CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    rows INTEGER NOT NULL DEFAULT 0,
    has_all_input INTEGER NOT NULL DEFAULT 0,
    finished_at REAL
);

-- One row for each distinct address of a run: it is asked once, however often the input names it.
CREATE TABLE address (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    address TEXT NOT NULL,
    state TEXT,
    verdict TEXT,
    UNIQUE (run, address)
);
CREATE INDEX address_pending ON address (run, id) WHERE state IS NULL;

CREATE TABLE input (
    run INTEGER NOT NULL,
    position INTEGER NOT NULL,
    text TEXT NOT NULL,
    address INTEGER NOT NULL,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE INDEX input_address ON input (address);
