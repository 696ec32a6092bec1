-- What an enclave said of a result: its worker's business. Empty without one.
ALTER TABLE work ADD COLUMN enclave BLOB NOT NULL DEFAULT x'';
