-- What programs printed, as their workers told it, piece by piece. seq counts up for each workerpool.
-- stream: 0 standard output, 1 standard error. bytes: what the piece counts for when there is too much of it all.
CREATE TABLE task_logs (
    workerpool BLOB NOT NULL,
    seq BIGINT NOT NULL,
    task BLOB NOT NULL,
    worker BLOB NOT NULL,
    stream INTEGER NOT NULL,
    at_ms BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (workerpool, seq)
);

CREATE INDEX task_logs_by_task ON task_logs (workerpool, task, seq);
