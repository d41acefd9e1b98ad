-- What the output of a list shows beside the verdicts: its own columns. Empty for runs begun before.
ALTER TABLE run ADD COLUMN columns TEXT NOT NULL DEFAULT '';
ALTER TABLE input ADD COLUMN cells TEXT NOT NULL DEFAULT '';
