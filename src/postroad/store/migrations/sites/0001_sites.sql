-- What an operator wants of sites for now. `limits`: JSON, the names of limits and their values. Wall clock; 0: never.
CREATE TABLE wish (
    key TEXT PRIMARY KEY,
    limits TEXT NOT NULL,
    until REAL NOT NULL,
    paused_until REAL NOT NULL,
    resumed_at REAL NOT NULL
) WITHOUT ROWID;

-- How each worker last saw each site, from each source; `state`: JSON.
CREATE TABLE seen (
    worker INTEGER NOT NULL,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (worker, key, source)
) WITHOUT ROWID;
CREATE INDEX seen_age ON seen (at);

-- Messages of each day (UTC, `2030-01-31`) from each source, by site; '' is all of them.
CREATE TABLE used (
    day TEXT NOT NULL,
    source TEXT NOT NULL,
    site TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (day, source, site)
) WITHOUT ROWID;
