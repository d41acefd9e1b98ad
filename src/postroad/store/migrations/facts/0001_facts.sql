-- The last verdict on an address, to be used again until `expires_at`.
CREATE TABLE verdict (
    address TEXT PRIMARY KEY,
    found_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    verdict TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX verdict_expiry ON verdict (expires_at);

-- Whether a domain takes every recipient; NULL: it could not be known.
CREATE TABLE domain (
    domain TEXT PRIMARY KEY,
    found_at REAL NOT NULL,
    catch_all INTEGER
) WITHOUT ROWID;

-- `name` is an address, or a domain; `cause`: bounced, do_not_mail, opt_out, blocked_domain.
CREATE TABLE suppression (
    name TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    added_at REAL NOT NULL,
    note TEXT NOT NULL
) WITHOUT ROWID;

-- What became of mail to an address: the last outcome counts.
CREATE TABLE delivery (
    address TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    said TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX delivery_domain ON delivery (domain, outcome);
