-- The form under which all spellings of one mailbox are one. NULL: not known yet; filled when the file is next opened.
ALTER TABLE suppression ADD COLUMN mailbox TEXT;
CREATE INDEX suppression_mailbox ON suppression (mailbox);

ALTER TABLE delivery ADD COLUMN mailbox TEXT;
CREATE INDEX delivery_mailbox ON delivery (mailbox);

-- Two spellings of one mailbox are one address that came back: counted from the index alone.
DROP INDEX delivery_domain;
CREATE INDEX delivery_domain ON delivery (domain, outcome, mailbox);
