-- In which order the addresses of a run are asked about: by domain, each domain's turns after those of the others.
CREATE TABLE work (
    run INTEGER NOT NULL,
    place INTEGER NOT NULL,
    address INTEGER NOT NULL,
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
DROP INDEX address_pending;
