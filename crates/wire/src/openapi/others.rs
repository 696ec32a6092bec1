//! The doors beside the order book.

use serde_json::json;

use super::operation::Operation;
use super::schemas::{list, named, number, object, one_of, text};
use crate::scheduler::follow;
use crate::{description, link};

const TEXT: &str = "text/plain";

/// Secrets and sessions.
pub(super) fn secrets() -> Vec<Operation> {
    let dataset = |operation: Operation| operation.needs("secretAddress", named("Address"));
    let own = |operation: Operation| {
        operation.needs("ownerAddress", named("Address")).needs("secretName", text())
    };
    let requesters = |operation: Operation| {
        let key = json!({"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"});
        operation.at("requester", named("Address")).at("key", key)
    };
    let app = |operation: Operation| operation.at("app", named("Address"));
    let apps = "/apps/{app}/secrets";
    let theirs = "/requesters/{requester}/secrets/{key}";
    let frameworks = || one_of(&["SCONE", "GRAMINE", "TDX"]);
    vec![
        dataset(is_there("/secrets/web3", "Whether a dataset has its key here.")),
        set(dataset(Operation::post("/secrets/web3", "Sets a dataset's key, once."))),
        own(is_there("/secrets/web2", "Whether a wallet has a secret of that name.")),
        set(own(Operation::post("/secrets/web2", "Sets a secret of a wallet."))),
        set(own(Operation::put("/secrets/web2", "Replaces a secret of a wallet."))).refuses(&[404]),
        app(is_there(apps, "Whether an app has its secret.")),
        set(app(Operation::post(apps, "Sets an app's secret, once."))),
        requesters(is_there(theirs, "Whether a requester has a secret of that name.")),
        set(requesters(Operation::post(theirs, "Sets a requester's secret, once."))),
        Operation::get("/tee/framework", "The framework of trusted execution.")
            .gives(frameworks())
            .refuses(&[404]),
        Operation::get("/tee/properties/{framework}", "What runs before and after a program.")
            .at("framework", frameworks())
            .gives(named("TeeProperties"))
            .refuses(&[400, 404, 409]),
        Operation::get(
            "/tee/properties/{framework}/{version}",
            "What runs before and after a program, of that version.",
        )
        .at("framework", frameworks())
        .at("version", text())
        .gives(named("TeeProperties"))
        .refuses(&[400, 404, 409]),
        Operation::post("/tee/challenges/{task}", "The address that a task's enclave signs with.")
            .at("task", named("Bytes32"))
            .by("signature")
            .gives_other(TEXT)
            .refuses(&[400, 401, 404]),
        Operation::post("/tee/sessions", "A session for a worker that is to run a task.")
            .by("signature")
            .body(named("WorkerpoolAuthorization"))
            .gives(object([(
                "data",
                object([("sessionId", text()), ("secretProvisioningUrl", text())]),
            )]))
            .refuses(&[400, 401, 404]),
        Operation::post(
            "/simulated-tdx/sessions/{session}",
            "Gives a session to a simulated enclave, once.",
        )
        .at("session", text())
        .body(object([
            ("publicKey", named("Hex")),
            ("evidence", object([("kind", text()), ("reportData", named("Bytes32"))])),
        ]))
        .gives(object([("sender", named("Hex")), ("ciphertext", named("Hex"))]))
        .refuses(&[400, 401, 404]),
    ]
}

/// [`secrets`] on an origin of their own.
pub(super) fn secrets_apart() -> Vec<Operation> {
    let mut operations = secrets();
    operations.push(Operation::get("/version", "The software's version.").gives_other(TEXT));
    operations.push(
        Operation::get("/metrics", "How many secrets of each kind there are.")
            .gives(object([("secretsMetrics", json!({"type": "object"}))])),
    );
    operations
}

fn is_there(path: &str, summary: &str) -> Operation {
    Operation::head(path, summary).gives_nothing().refuses_silently(&[400, 404])
}

fn set(operation: Operation) -> Operation {
    operation
        .by("signature")
        .body_of(TEXT, json!({"type": "string", "maxLength": 4096}))
        .gives_nothing()
        .refuses(&[400, 401, 409, 413])
}

/// Where workerpools answer.
pub(super) fn compass() -> Vec<Operation> {
    vec![
        Operation::get(
            "/{chainId}/workerpools/{address}",
            "Where a workerpool's scheduler answers.",
        )
        .at("chainId", number(1))
        .at("address", named("Address"))
        .gives(object([("apiUrl", text()), ("address", named("Address"))]))
        .refuses(&[400, 404]),
        Operation::get("/{chainId}/iapps/{name}", "The app that a name stands for.")
            .at("chainId", number(1))
            .at("name", text())
            .gives(object([("address", named("Address"))]))
            .refuses(&[400, 404]),
    ]
}

/// Tasks, logs, uploads and the workers' link.
pub(super) fn scheduler() -> Vec<Operation> {
    let task = |operation: Operation| operation.at("task", named("Bytes32"));
    let replicate = |operation: Operation| task(operation).at("wallet", named("Address"));
    vec![
        task(Operation::get("/tasks/{task}", "A task's state."))
            .gives(named("Task"))
            .refuses(&[400, 404]),
        Operation::get("/tasks/logs/challenge", "A text to sign, for reading logs.")
            .takes("chainId", number(1))
            .needs("address", named("Address"))
            .gives(named("TypedData"))
            .refuses(&[400]),
        task(Operation::get(
            "/tasks/{task}/logs",
            "What a task's programs printed, for its requester.",
        ))
        .by("wallet")
        .takes("follow", one_of(&["0", "1", "true", "false"]))
        .takes("after", number(0))
        .gives(named("TaskLogs"))
        .or_gives(follow::CONTENT_TYPE, named("LogLine"))
        .refuses(&[400, 401, 403, 404, 503]),
        replicate(Operation::get(
            "/tasks/{task}/replicates/{wallet}",
            "One worker's part in a task.",
        ))
        .gives(named("Replicate"))
        .refuses(&[400, 404]),
        replicate(Operation::get(
            "/tasks/{task}/replicates/{wallet}/logs",
            "What a task's program printed at one worker, for the requester.",
        ))
        .by("wallet")
        .gives(json!({"type": "object"}))
        .refuses(&[400, 401, 403, 404]),
        Operation::get(
            "/workerpools/{address}/reputation",
            "What a workerpool's scheduler knows of its workers.",
        )
        .at("address", named("Address"))
        .gives(named("PoolReputation"))
        .refuses(&[400, 404]),
        Operation::get(
            "/workerpools/{address}/network",
            "How many of a workerpool's workers give an app's containers a network.",
        )
        .at("address", named("Address"))
        .needs("app", named("Address"))
        .needs("category", number(0))
        .gives(object([("workers", number(0)), ("granting", number(0)), ("silent", number(0))]))
        .refuses(&[400, 404]),
        task(Operation::post("/workers/results/{task}", "Stores a worker's result."))
            .by("upload")
            .body_of("application/octet-stream", json!({}))
            .gives(object([("location", text())]))
            .refuses(&[400, 401, 403, 404]),
        task(Operation::head("/workers/results/{task}", "Where the upload of a result stands."))
            .by("upload")
            .gives_other("application/octet-stream")
            .refuses_silently(&[400, 401, 403, 404]),
        task(Operation::patch("/workers/results/{task}", "Stores a part of a worker's result."))
            .by("upload")
            .body_of("application/offset+octet-stream", json!({}))
            .gives(object([("location", text())]))
            .refuses(&[400, 401, 403, 404, 409, 507]),
        Operation::get(link::CONNECT_PATH, "The link between a worker and its scheduler.")
            .needs("workerpool", named("Address"))
            .needs("nonce", named("Bytes32"))
            .upgrades()
            .refuses(&[400, 404]),
    ]
}

/// Inputs and results.
pub(super) fn storage() -> Vec<Operation> {
    let file = json!({
        "type": "object", "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
    });
    vec![
        Operation::get("/ipfs/{cid}", "Content, or a range of it.")
            .at("cid", text())
            .gives_other("application/octet-stream")
            .refuses(&[400, 404]),
        Operation::head("/ipfs/{cid}", "Whether there is such content, and its size.")
            .at("cid", text())
            .gives_other("application/octet-stream")
            .refuses_silently(&[400, 404]),
        Operation::post("/api/v0/add", "Stores files, as kubo does.")
            .takes("cid-version", one_of(&["0", "1"]))
            .takes("raw-leaves", one_of(&["true", "false"]))
            .takes("only-hash", one_of(&["true", "false"]))
            .body_of("multipart/form-data", file)
            .gives(object([("Name", text()), ("Hash", text()), ("Size", text())]))
            .refuses(&[400, 413]),
        Operation::head("/uploads/{id}", "Where an upload in parts stands.")
            .at("id", text())
            .gives_other("application/octet-stream")
            .refuses_silently(&[400, 404]),
        Operation::patch("/uploads/{id}", "Stores a part of a file; of the last one, the whole.")
            .at("id", text())
            .body_of("application/offset+octet-stream", json!({}))
            .gives(object([("Name", text()), ("Hash", text()), ("Size", text())]))
            .refuses(&[400, 409, 413, 422, 507]),
    ]
}

/// What the market consists of.
pub(super) fn description() -> Vec<Operation> {
    vec![Operation::get(description::PATH, "What this market consists of.").gives(object([
        ("origin", text()),
        ("rpc", text()),
        ("ws", text()),
        ("chainId", number(1)),
        ("contracts", json!({"type": "object"})),
        ("workerpools", list(json!({"type": "object"}))),
        ("apps", list(json!({"type": "object"}))),
        ("version", text()),
    ]))]
}

/// The embedded chain.
pub(super) fn chain() -> Vec<Operation> {
    vec![
        Operation::post("/", "JSON-RPC: one request, or a batch.")
            .body(named("Rpc"))
            .gives(json!({"type": ["object", "array"]})),
        Operation::get("/", "JSON-RPC over a websocket.").upgrades().refuses_silently(&[426]),
    ]
}
