-- What a scheduler knows of its workers beyond the chain. worker: twenty zero bytes for all of them together.
-- record: JSON, the scheduler's own. How far the chain is in them is a cursor, written with them.
CREATE TABLE reputations (
    workerpool BLOB NOT NULL,
    worker BLOB NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (workerpool, worker)
);
