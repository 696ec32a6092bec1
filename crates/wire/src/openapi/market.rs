//! The order book and its feed.

use orders::OrderKind;
use serde_json::{Value, json};

use super::operation::Operation;
use super::schemas::{list, named, number, object, one_of, text, truth};
use crate::market::FEED_PATH;

/// Everything that the order book answers.
pub(super) fn book() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get("/version", "The software's version.")
            .gives(ok([("version", text())]))
            .refuses(&[429]),
        on_chain(Operation::get("/metrics", "How far the book is, and how many orders are open."))
            .gives(ok([
                ("lastBlock", number(0)),
                ("checkpointBlock", number(0)),
                ("apporders", number(0)),
                ("datasetorders", number(0)),
                ("workerpoolorders", number(0)),
                ("requestorders", number(0)),
            ])),
        on_chain(Operation::get("/challenge", "A text to sign, for logging in with a wallet."))
            .needs("address", named("Address"))
            .gives(ok([("data", named("TypedData"))])),
        paged(on_chain(Operation::get("/categories", "Categories, shortest first.")))
            .takes("minWorkClockTimeRef", number(0))
            .takes("maxWorkClockTimeRef", number(0))
            .gives(page("categories", named("Category"))),
        on_chain(Operation::get("/categories/{catid}", "A category.").at("catid", number(0)))
            .gives(named("Category"))
            .refuses(&[404]),
        deals(),
        on_chain(Operation::get("/deals/{dealid}", "A deal.").at("dealid", named("Bytes32")))
            .gives(named("Deal"))
            .refuses(&[404]),
        on_chain(Operation::get(
            "/ohlc",
            "What tasks of a category cost lately: [time, price, volume], newest first.",
        ))
        .needs("category", number(0))
        .gives(ok([("ohlc", list(list(json!({}))))])),
        on_chain(
            Operation::get(
                "/workerpools/{address}/track-record",
                "How the last tasks of a workerpool ended on the chain, about a thousand of them.",
            )
            .at("address", named("Address")),
        )
        .gives(ok([
            ("workerpool", named("Address")),
            ("chainId", number(1)),
            ("trackRecord", named("TrackRecord")),
        ])),
        claim(Operation::get(
            "/workerpools/{address}/claim",
            "What a workerpool says of its own past, as its owner signed it (EIP-191). Nobody vouches for it.",
        ))
        .gives(ok([("claim", text()), ("signature", text())]))
        .refuses(&[404]),
        claim(Operation::put(
            "/workerpools/{address}/claim",
            "Says so: the owner's signature is all that is asked for, and a later date than that of what is known.",
        ))
        .body(object([("claim", text()), ("signature", text())]))
        .gives(ok([]))
        .refuses(&[403, 413]),
        why(),
    ];
    operations.extend(OrderKind::ALL.into_iter().flat_map(orders));
    operations
}

/// The live feed, as far as HTTP goes.
pub(super) fn feed() -> Vec<Operation> {
    let session = |operation: Operation| {
        operation.needs("EIO", one_of(&["4"])).needs("transport", one_of(&["polling", "websocket"]))
    };
    let slashed = format!("{FEED_PATH}/");
    [FEED_PATH, &slashed]
        .into_iter()
        .flat_map(|path| {
            [
                session(Operation::get(path, "Opens a session, or waits for its messages."))
                    .takes("sid", text())
                    .gives_other("text/plain")
                    .upgrades()
                    .refuses(&[400, 429]),
                session(Operation::post(path, "Sends messages of a session."))
                    .needs("sid", text())
                    .body_of("text/plain", text())
                    .gives_other("text/plain")
                    .refuses(&[400, 413]),
            ]
        })
        .collect()
}

/// An answer `{ok: true, …}`.
fn ok<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut schema = object(fields);
    schema["properties"]["ok"] = json!({"const": true});
    schema
}

fn page(name: &str, of: Value) -> Value {
    let mut schema = ok([(name, list(of)), ("count", number(0))]);
    schema["properties"]["nextPage"] = number(0);
    schema
}

fn on_chain(operation: Operation) -> Operation {
    operation.needs("chainId", number(1)).refuses(&[400, 429])
}

fn paged(operation: Operation) -> Operation {
    let size = json!({"type": "integer", "minimum": 10, "maximum": 1000});
    operation.takes("pageIndex", number(0)).takes("pageSize", size)
}

fn why() -> Operation {
    let summary = "Why a request is not matched, and the least that would help. An order is given by its hash or as JSON.";
    let mut operation = on_chain(Operation::get("/why", summary)).needs("requestorder", text());
    for offer in ["apporder", "datasetorder", "workerpoolorder"] {
        operation = operation.takes(offer, text());
    }
    operation = operation.takes("region", text());
    let remedies = list(object([("text", text())]));
    operation
        .gives(ok([("matches", truth()), ("what", text()), ("remedies", remedies)]))
        .refuses(&[404])
}

fn claim(operation: Operation) -> Operation {
    on_chain(operation.at("address", named("Address")))
}

fn deals() -> Operation {
    let parties = [
        "requester",
        "beneficiary",
        "app",
        "dataset",
        "workerpool",
        "appOwner",
        "datasetOwner",
        "workerpoolOwner",
    ];
    let hashes = ["apporderHash", "datasetorderHash", "workerpoolorderHash", "requestorderHash"];
    let mut operation = paged(on_chain(Operation::get("/deals", "Deals, newest first.")))
        .takes("category", number(0));
    for party in parties {
        operation = operation.takes(party, named("Address"));
    }
    for hash in hashes {
        operation = operation.takes(hash, named("Bytes32"));
    }
    operation.gives(page("deals", named("Deal")))
}

fn orders(kind: OrderKind) -> [Operation; 4] {
    let (order, record) = match kind {
        OrderKind::App => ("AppOrder", "PublishedAppOrder"),
        OrderKind::Dataset => ("DatasetOrder", "PublishedDatasetOrder"),
        OrderKind::Workerpool => ("WorkerpoolOrder", "PublishedWorkerpoolOrder"),
        OrderKind::Request => ("RequestOrder", "PublishedRequestOrder"),
    };
    let path = format!("/{kind}orders");
    let published = ok([("published", named(record))]);
    let publish =
        Operation::post(&path, format!("Publishes a {kind} order, which the wallet has signed."));
    let unpublish =
        Operation::put(&path, format!("Takes open {kind} orders of the wallet out of the book."));
    [
        open_orders(kind).gives(page("orders", named(record))),
        on_chain(publish)
            .by("wallet")
            .body(object([("order", named(order))]))
            .gives(published)
            .refuses(&[403, 413]),
        on_chain(unpublish)
            .by("wallet")
            .body(targets(kind))
            .gives(ok([("unpublished", list(named("Bytes32")))]))
            .refuses(&[403, 413]),
        on_chain(
            Operation::get(
                format!("{path}/{{orderHash}}"),
                format!("A {kind} order, whatever became of it."),
            )
            .at("orderHash", named("Bytes32")),
        )
        .gives(named(record))
        .refuses(&[404]),
    ]
}

fn targets(kind: OrderKind) -> Value {
    let targets = one_of(&["unpublish_orderHash", "unpublish_last", "unpublish_all"]);
    let subject = if kind == OrderKind::Request { "requester" } else { kind.as_str() };
    json!({
        "type": "object",
        "properties": {"target": targets, "orderHash": named("Bytes32"), subject: named("Address")},
    })
}

/// The query of open orders, which differs by kind as the official API's does.
fn open_orders(kind: OrderKind) -> Operation {
    let summary = match kind {
        OrderKind::Request => "Open request orders, best paid first.".to_owned(),
        _ => format!("Open {kind} orders, cheapest first."),
    };
    let query = paged(on_chain(Operation::get(format!("/{kind}orders"), summary)))
        .takes("minTag", named("Bytes32"))
        .takes("maxTag", named("Bytes32"))
        .takes("minVolume", number(1));
    let any = || named("AddressOrAny");
    let strict =
        |query: Operation, party: &str, flag: &str| query.takes(party, any()).takes(flag, truth());
    match kind {
        OrderKind::App => {
            let query = query.takes("app", any()).takes("appOwner", named("Address"));
            let query = strict(query, "dataset", "isDatasetStrict");
            let query = strict(query, "workerpool", "isWorkerpoolStrict");
            strict(query, "requester", "isRequesterStrict")
        }
        OrderKind::Dataset => {
            let query = query
                .takes("dataset", any())
                .takes("datasetOwner", named("Address"))
                .takes("bulkOnly", truth());
            let query = strict(query, "app", "isAppStrict");
            let query = strict(query, "workerpool", "isWorkerpoolStrict");
            strict(query, "requester", "isRequesterStrict")
        }
        OrderKind::Workerpool => {
            let query = query
                .takes("workerpool", any())
                .takes("workerpoolOwner", named("Address"))
                .takes("category", number(0))
                .takes("minTrust", number(0));
            let query = strict(query, "app", "isAppStrict");
            let query = strict(query, "dataset", "isDatasetStrict");
            strict(query, "requester", "isRequesterStrict")
        }
        OrderKind::Request => {
            let query = query
                .takes("app", any())
                .takes("dataset", any())
                .takes("requester", any())
                .takes("beneficiary", any())
                .takes("category", number(0))
                .takes("maxTrust", number(0));
            strict(query, "workerpool", "isWorkerpoolStrict")
        }
    }
}
