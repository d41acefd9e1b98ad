-- MTA-STS policies that were fetched, to be used until `expires_at` (wall clock).
CREATE TABLE policy (
    domain TEXT PRIMARY KEY,
    record_id TEXT NOT NULL,
    content BLOB NOT NULL,
    fetched_at REAL NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX policy_expiry ON policy (expires_at);

-- Sessions with mail hosts, equal ones counted together. `day`: days since 1970 (UTC); `policy`: JSON, '' for none;
-- `result`: what failed, '' for nothing.
CREATE TABLE session (
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    policy TEXT NOT NULL,
    host TEXT NOT NULL,
    address TEXT NOT NULL,
    source_address TEXT NOT NULL,
    result TEXT NOT NULL,
    reason TEXT NOT NULL,
    enforced INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, domain, policy, host, address, source_address, result, reason, enforced)
) WITHOUT ROWID;

-- Days on which a domain was, or need not be, told.
CREATE TABLE report (
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    done_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (day, domain)
) WITHOUT ROWID;
