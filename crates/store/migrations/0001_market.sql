-- Only TEXT, BIGINT and BLOB, so that another database can hold the same meaning. Hashes and addresses are BLOB: their
-- bytes sort as their hexadecimal text does.

CREATE TABLE cursors (
    name TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    hash BLOB NOT NULL
);

-- The four kinds of order share one table, because each names the same four parties: what it is about, and whom it is
-- restricted to (zero: nobody). A published order's numbers are at most 2^53 - 1, so BIGINT holds and sorts them.
-- kind: 0 app, 1 dataset, 2 workerpool, 3 request. status: 0 open, 1 filled, 2 canceled, 3 dead.
-- A tag is four columns of 64 bits, tag_0 the lowest, so that demands can be compared bit by bit in a query.
CREATE TABLE orders (
    hash BLOB NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    status BIGINT NOT NULL,
    signer BLOB NOT NULL,
    published_ms BIGINT NOT NULL,
    remaining BIGINT NOT NULL,
    changed_block BIGINT NOT NULL,
    app BLOB NOT NULL,
    dataset BLOB NOT NULL,
    workerpool BLOB NOT NULL,
    requester BLOB NOT NULL,
    app_price BIGINT NOT NULL,
    dataset_price BIGINT NOT NULL,
    workerpool_price BIGINT NOT NULL,
    volume BIGINT NOT NULL,
    category BIGINT NOT NULL,
    trust BIGINT NOT NULL,
    tag_0 BIGINT NOT NULL,
    tag_1 BIGINT NOT NULL,
    tag_2 BIGINT NOT NULL,
    tag_3 BIGINT NOT NULL,
    beneficiary BLOB NOT NULL,
    callback BLOB NOT NULL,
    params TEXT NOT NULL,
    salt BLOB NOT NULL,
    sign BLOB NOT NULL
);

-- Each lists open orders in the sequence in which the book answers: best price, then oldest, then hash.
CREATE INDEX open_app_orders ON orders (app, app_price, published_ms, hash) WHERE kind = 0 AND status = 0;
CREATE INDEX open_dataset_orders ON orders (dataset, dataset_price, published_ms, hash) WHERE kind = 1 AND status = 0;
CREATE INDEX open_workerpool_orders ON orders (category, workerpool_price, published_ms, hash) WHERE kind = 2 AND status = 0;
CREATE INDEX open_request_orders ON orders (category, workerpool_price DESC, published_ms, hash) WHERE kind = 3 AND status = 0;
CREATE INDEX open_orders_by_signer ON orders (signer, kind) WHERE status = 0;
CREATE INDEX open_requests_by_app ON orders (app) WHERE kind = 3 AND status = 0;
CREATE INDEX open_requests_by_dataset ON orders (dataset) WHERE kind = 3 AND status = 0;
CREATE INDEX orders_by_change ON orders (changed_block);

-- Amounts here are whatever the chain holds, up to 256 bits: decimal text, padded so that it sorts.
CREATE TABLE deals (
    id BLOB NOT NULL PRIMARY KEY,
    block_number BIGINT NOT NULL,
    block_time BIGINT NOT NULL,
    tx_hash BLOB NOT NULL,
    app BLOB NOT NULL,
    app_owner BLOB NOT NULL,
    app_price TEXT NOT NULL,
    dataset BLOB NOT NULL,
    dataset_owner BLOB NOT NULL,
    dataset_price TEXT NOT NULL,
    workerpool BLOB NOT NULL,
    workerpool_owner BLOB NOT NULL,
    workerpool_price TEXT NOT NULL,
    requester BLOB NOT NULL,
    beneficiary BLOB NOT NULL,
    callback BLOB NOT NULL,
    app_hash BLOB NOT NULL,
    dataset_hash BLOB NOT NULL,
    workerpool_hash BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    params TEXT NOT NULL,
    volume TEXT NOT NULL,
    category TEXT NOT NULL,
    tag BLOB NOT NULL,
    trust TEXT NOT NULL,
    start_time BIGINT NOT NULL,
    bot_first TEXT NOT NULL,
    bot_size TEXT NOT NULL,
    scheduler_reward_ratio TEXT NOT NULL,
    worker_stake TEXT NOT NULL
);

CREATE INDEX deals_by_block ON deals (block_number DESC, id);
CREATE INDEX deals_by_requester ON deals (requester, block_number DESC, id);
CREATE INDEX deals_by_app ON deals (app, block_number DESC, id);
CREATE INDEX deals_by_dataset ON deals (dataset, block_number DESC, id);
CREATE INDEX deals_by_workerpool ON deals (workerpool, block_number DESC, id);
CREATE INDEX deals_by_app_order ON deals (app_hash);
CREATE INDEX deals_by_dataset_order ON deals (dataset_hash);
CREATE INDEX deals_by_workerpool_order ON deals (workerpool_hash);
CREATE INDEX deals_by_request_order ON deals (request_hash);

CREATE TABLE categories (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    work_clock_seconds BIGINT NOT NULL,
    tx_hash BLOB NOT NULL,
    block_number BIGINT NOT NULL,
    block_time BIGINT NOT NULL
);

-- What a worker has promised and not yet finished: with this it can reveal and upload after a restart.
CREATE TABLE work (
    worker BLOB NOT NULL,
    task BLOB NOT NULL,
    deal BLOB NOT NULL,
    task_index BIGINT NOT NULL,
    state TEXT NOT NULL,
    digest BLOB NOT NULL,
    archive TEXT NOT NULL,
    callback BLOB NOT NULL,
    location TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (worker, task)
);
