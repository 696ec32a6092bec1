-- Open orders stand on shelves. What stands on one shelf is alike in all that queries tell orders apart by, save price,
-- volume and the addresses named: so a query picks its shelves and takes the cheapest of each, however many dear orders
-- there are, and it counts by adding up. `named` has a bit for each restriction that names somebody: 1 app, 2 dataset,
-- 4 workerpool, 8 requester. `open` is kept by the triggers below.
CREATE TABLE shelves (
    id BIGINT NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    category BIGINT NOT NULL,
    trust BIGINT NOT NULL,
    tag_0 BIGINT NOT NULL,
    tag_1 BIGINT NOT NULL,
    tag_2 BIGINT NOT NULL,
    tag_3 BIGINT NOT NULL,
    named BIGINT NOT NULL,
    open BIGINT NOT NULL,
    UNIQUE (kind, category, trust, tag_0, tag_1, tag_2, tag_3, named)
);

ALTER TABLE orders ADD COLUMN named BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN shelf BIGINT NOT NULL DEFAULT 0;

UPDATE orders SET named =
    CASE WHEN kind IN (1, 2) AND app <> X'0000000000000000000000000000000000000000' THEN 1 ELSE 0 END
    + CASE WHEN kind IN (0, 2) AND dataset <> X'0000000000000000000000000000000000000000' THEN 2 ELSE 0 END
    + CASE WHEN kind IN (0, 1, 3) AND workerpool <> X'0000000000000000000000000000000000000000' THEN 4 ELSE 0 END
    + CASE WHEN kind IN (0, 1, 2) AND requester <> X'0000000000000000000000000000000000000000' THEN 8 ELSE 0 END;

INSERT INTO shelves (id, kind, category, trust, tag_0, tag_1, tag_2, tag_3, named, open)
SELECT ROW_NUMBER() OVER (ORDER BY kind), kind, category, trust, tag_0, tag_1, tag_2, tag_3, named,
    SUM(CASE WHEN status = 0 THEN 1 ELSE 0 END)
FROM orders GROUP BY kind, category, trust, tag_0, tag_1, tag_2, tag_3, named;

UPDATE orders SET shelf = (
    SELECT id FROM shelves AS s WHERE s.kind = orders.kind AND s.category = orders.category AND s.trust = orders.trust
    AND s.tag_0 = orders.tag_0 AND s.tag_1 = orders.tag_1 AND s.tag_2 = orders.tag_2 AND s.tag_3 = orders.tag_3
    AND s.named = orders.named
);

CREATE TRIGGER order_added AFTER INSERT ON orders WHEN NEW.status = 0 BEGIN
    UPDATE shelves SET open = open + 1 WHERE id = NEW.shelf;
END;
CREATE TRIGGER order_opened AFTER UPDATE OF status ON orders WHEN OLD.status <> 0 AND NEW.status = 0 BEGIN
    UPDATE shelves SET open = open + 1 WHERE id = NEW.shelf;
END;
CREATE TRIGGER order_shut AFTER UPDATE OF status ON orders WHEN OLD.status = 0 AND NEW.status <> 0 BEGIN
    UPDATE shelves SET open = open - 1 WHERE id = NEW.shelf;
END;
CREATE TRIGGER order_removed AFTER DELETE ON orders WHEN OLD.status = 0 BEGIN
    UPDATE shelves SET open = open - 1 WHERE id = OLD.shelf;
END;

-- Each shelf in the sequence in which the book answers. Status and kind are there so that the index alone suffices.
CREATE INDEX shelved_app_orders ON orders (shelf, app_price, published_ms, hash, kind, status) WHERE kind = 0 AND status = 0;
CREATE INDEX shelved_dataset_orders ON orders (shelf, dataset_price, published_ms, hash, kind, status) WHERE kind = 1 AND status = 0;
CREATE INDEX shelved_workerpool_orders ON orders (shelf, workerpool_price, published_ms, hash, kind, status) WHERE kind = 2 AND status = 0;
CREATE INDEX shelved_request_orders ON orders (shelf, workerpool_price DESC, published_ms, hash, kind, status) WHERE kind = 3 AND status = 0;

-- All shelves together, for when a question takes in too many of them. What they are told apart by is there too, so that
-- orders which do not fit are passed over without being read.
DROP INDEX open_workerpool_orders;
DROP INDEX open_request_orders;
CREATE INDEX open_workerpool_orders ON orders (workerpool_price, published_ms, hash, category, trust, tag_0, named)
    WHERE kind = 2 AND status = 0;
CREATE INDEX open_request_orders ON orders (workerpool_price DESC, published_ms, hash, category, trust, tag_0, named)
    WHERE kind = 3 AND status = 0;

-- Orders that name somebody whom they are restricted to, by whom they name.
CREATE INDEX open_orders_for_app ON orders (app, kind) WHERE status = 0 AND named IN (1, 3, 5, 7, 9, 11, 13, 15);
CREATE INDEX open_orders_for_dataset ON orders (dataset, kind) WHERE status = 0 AND named IN (2, 3, 6, 7, 10, 11, 14, 15);
CREATE INDEX open_orders_for_workerpool ON orders (workerpool, kind) WHERE status = 0 AND named IN (4, 5, 6, 7, 12, 13, 14, 15);
CREATE INDEX open_orders_for_requester ON orders (requester, kind) WHERE status = 0 AND named IN (8, 9, 10, 11, 12, 13, 14, 15);

CREATE INDEX open_orders_by_workerpool ON orders (workerpool, workerpool_price, published_ms, hash) WHERE kind = 2 AND status = 0;
CREATE INDEX open_requests_by_beneficiary ON orders (beneficiary) WHERE kind = 3 AND status = 0;
DROP INDEX open_requests_by_app;
DROP INDEX open_requests_by_dataset;
CREATE INDEX open_requests_by_app ON orders (app, workerpool_price DESC, published_ms, hash) WHERE kind = 3 AND status = 0;
CREATE INDEX open_requests_by_dataset ON orders (dataset, workerpool_price DESC, published_ms, hash)
    WHERE kind = 3 AND status = 0 AND dataset <> X'0000000000000000000000000000000000000000';
CREATE INDEX deals_by_category ON deals (category, block_number DESC, id);
