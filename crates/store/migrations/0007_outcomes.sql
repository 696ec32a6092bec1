-- What became of the last tasks of each workerpool, as the chain told it; a rewound block takes its tasks back.
CREATE TABLE outcomes (
    task BLOB NOT NULL PRIMARY KEY,
    workerpool BLOB NOT NULL,
    block_number BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    latency_s BIGINT NOT NULL
);

CREATE INDEX outcomes_by_workerpool ON outcomes (workerpool, block_number, completed, latency_s);
CREATE INDEX outcomes_by_block ON outcomes (block_number);
