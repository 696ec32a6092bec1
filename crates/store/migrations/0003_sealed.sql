-- What a vault keeps. box is ciphertext, bound to the other columns but expires_s; nothing here is the secret itself.
-- expires_s: seconds since 1970 after which the row may be thrown away; 0 for never.
CREATE TABLE sealed (
    kind TEXT NOT NULL,
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    box BLOB NOT NULL,
    expires_s BIGINT NOT NULL,
    PRIMARY KEY (kind, owner, name)
);

CREATE INDEX sealed_by_expiry ON sealed (kind, expires_s) WHERE expires_s > 0;
