-- All shelves together in the sequence of prices, with the shelf in it: so a question that takes in many shelves is answered
-- from the index alone, until the page is full. Status and kind are there for the same reason.
DROP INDEX open_workerpool_orders;
DROP INDEX open_request_orders;
CREATE INDEX open_workerpool_orders ON orders
    (workerpool_price, published_ms, hash, shelf, category, trust, tag_0, named, kind, status) WHERE kind = 2 AND status = 0;
CREATE INDEX open_request_orders ON orders
    (workerpool_price DESC, published_ms, hash, shelf, category, trust, tag_0, named, kind, status) WHERE kind = 3 AND status = 0;

-- What most questions ask besides whom an order names, so that orders which do not fit are passed over without being read.
DROP INDEX open_orders_for_app;
DROP INDEX open_orders_for_dataset;
DROP INDEX open_orders_for_workerpool;
DROP INDEX open_orders_for_requester;
CREATE INDEX open_orders_for_app ON orders (app, kind, category, trust, tag_0)
    WHERE status = 0 AND named IN (1, 3, 5, 7, 9, 11, 13, 15);
CREATE INDEX open_orders_for_dataset ON orders (dataset, kind, category, trust, tag_0)
    WHERE status = 0 AND named IN (2, 3, 6, 7, 10, 11, 14, 15);
CREATE INDEX open_orders_for_workerpool ON orders (workerpool, kind, category, trust, tag_0)
    WHERE status = 0 AND named IN (4, 5, 6, 7, 12, 13, 14, 15);
CREATE INDEX open_orders_for_requester ON orders (requester, kind, category, trust, tag_0)
    WHERE status = 0 AND named IN (8, 9, 10, 11, 12, 13, 14, 15);
