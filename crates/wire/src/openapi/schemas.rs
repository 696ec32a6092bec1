//! The shapes, each under its name.

use serde_json::{Map, Value, json};

use crate::json::SAFE_INTEGER_MAX;

/// A reference to the schema of that name.
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object with those fields, all of them required.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    json_of([("type", "object".into()), ("properties", json_of(fields)), ("required", required)])
}

pub(super) fn list(of: Value) -> Value {
    json_of([("type", "array".into()), ("items", of)])
}

/// The JSON object of those names and values.
pub(super) fn json_of<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(map(fields))
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn truth() -> Value {
    json!({"type": "boolean"})
}

/// A whole number from `least` to 2^53 − 1.
pub(super) fn number(least: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": SAFE_INTEGER_MAX})
}

pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// All of them.
pub(super) fn all() -> Value {
    let mut schemas = words();
    schemas.extend(orders());
    schemas.extend(records());
    schemas.extend(others());
    Value::Object(schemas)
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn hex(pattern: &str, example: &str) -> Value {
    json!({"type": "string", "pattern": pattern, "examples": [example]})
}

fn words() -> Map<String, Value> {
    let zeros = |digits: usize| format!("0x{}", "0".repeat(digits));
    map([
        ("Address", hex("^0x[0-9a-fA-F]{40}$", &zeros(40))),
        ("AddressOrAny", json!({"anyOf": [named("Address"), {"type": "string", "const": "any"}]})),
        ("Bytes32", hex("^0x[0-9a-fA-F]{64}$", &zeros(64))),
        ("Hex", hex("^0x([0-9a-fA-F]{2})*$", "0x")),
        ("Moment", json!({"type": "string", "format": "date-time"})),
        (
            "Refusal",
            json!({
                "type": "object",
                "description": "Why not. Which fields there are depends on the door.",
                "properties": {"ok": {"const": false}, "error": {}, "message": {"type": "string"}, "failure": named("Failure")},
            }),
        ),
        (
            "Failure",
            json!({
                "type": "object",
                "properties": {"code": {"type": "string", "pattern": "^GM-[0-9]{4}$"}, "message": text(), "remedy": text()},
                "required": ["code", "message"],
            }),
        ),
    ])
}

fn orders() -> Map<String, Value> {
    let address = || named("Address");
    let sealed = |mut fields: Vec<(&str, Value)>| {
        fields.extend([
            ("volume", number(1)),
            ("tag", named("Bytes32")),
            ("salt", named("Bytes32")),
            ("sign", named("Hex")),
        ]);
        let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let properties: Map<String, Value> =
            fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
        json!({"type": "object", "properties": properties, "required": required})
    };
    map([
        (
            "AppOrder",
            sealed(vec![
                ("app", address()),
                ("appprice", number(0)),
                ("datasetrestrict", address()),
                ("workerpoolrestrict", address()),
                ("requesterrestrict", address()),
            ]),
        ),
        (
            "DatasetOrder",
            sealed(vec![
                ("dataset", address()),
                ("datasetprice", number(0)),
                ("apprestrict", address()),
                ("workerpoolrestrict", address()),
                ("requesterrestrict", address()),
            ]),
        ),
        (
            "WorkerpoolOrder",
            sealed(vec![
                ("workerpool", address()),
                ("workerpoolprice", number(0)),
                ("category", number(0)),
                ("trust", number(0)),
                ("apprestrict", address()),
                ("datasetrestrict", address()),
                ("requesterrestrict", address()),
            ]),
        ),
        (
            "RequestOrder",
            sealed(vec![
                ("app", address()),
                ("appmaxprice", number(0)),
                ("dataset", address()),
                ("datasetmaxprice", number(0)),
                ("workerpool", address()),
                ("workerpoolmaxprice", number(0)),
                ("requester", address()),
                ("category", number(0)),
                ("trust", number(0)),
                ("beneficiary", address()),
                ("callback", address()),
                ("params", text()),
            ]),
        ),
    ])
}

fn records() -> Map<String, Value> {
    let asset = || {
        object([("pointer", named("Address")), ("owner", named("Address")), ("price", number(0))])
    };
    let record = |order: &str| {
        object([
            ("order", named(order)),
            ("orderHash", named("Bytes32")),
            ("chainId", json!({"type": ["integer", "string"]})),
            ("publicationTimestamp", named("Moment")),
            ("signer", named("Address")),
            ("status", one_of(&["open", "filled", "canceled", "dead"])),
            ("remaining", number(0)),
        ])
    };
    let typed_data = json!({
        "type": "object",
        "description": "EIP-712 typed data, to be signed with the wallet.",
        "required": ["types", "domain", "primaryType", "message"],
    });
    map([
        (
            "TrackRecord",
            object([
                ("completed", number(0)),
                ("failed", number(0)),
                ("successShare", json!({"type": ["number", "null"]})),
                ("medianLatencySeconds", json!({"type": ["integer", "null"]})),
            ]),
        ),
        ("PublishedAppOrder", record("AppOrder")),
        ("PublishedDatasetOrder", record("DatasetOrder")),
        ("PublishedWorkerpoolOrder", record("WorkerpoolOrder")),
        ("PublishedRequestOrder", record("RequestOrder")),
        (
            "Deal",
            object([
                ("dealid", named("Bytes32")),
                ("chainId", number(1)),
                ("app", asset()),
                ("dataset", asset()),
                ("workerpool", asset()),
                ("requester", named("Address")),
                ("beneficiary", named("Address")),
                ("callback", named("Address")),
                ("appHash", named("Bytes32")),
                ("datasetHash", named("Bytes32")),
                ("workerpoolHash", named("Bytes32")),
                ("requestHash", named("Bytes32")),
                ("params", text()),
                ("volume", number(0)),
                ("category", number(0)),
                ("tag", named("Bytes32")),
                ("trust", number(0)),
                ("startTime", number(0)),
                ("botFirst", number(0)),
                ("botSize", number(0)),
                ("schedulerRewardRatio", number(0)),
                ("workerStake", number(0)),
                ("blockNumber", number(0)),
                ("blockTimestamp", named("Moment")),
                ("transactionHash", named("Bytes32")),
            ]),
        ),
        (
            "Category",
            object([
                ("catid", number(0)),
                ("chainId", number(1)),
                ("name", text()),
                ("description", text()),
                ("workClockTimeRef", number(0)),
                ("transactionHash", named("Bytes32")),
                ("blockNumber", number(0)),
                ("blockTimestamp", named("Moment")),
            ]),
        ),
        ("TypedData", typed_data),
    ])
}

fn others() -> Map<String, Value> {
    let dated = object([("date", named("Moment")), ("status", text())]);
    map([
        (
            "Replicate",
            object([
                ("chainTaskId", named("Bytes32")),
                ("walletAddress", named("Address")),
                ("currentStatus", text()),
                ("statusUpdateList", list(dated.clone())),
            ]),
        ),
        (
            "Task",
            object([
                ("chainTaskId", named("Bytes32")),
                ("dealId", named("Bytes32")),
                ("taskIndex", number(0)),
                ("currentStatus", text()),
                ("trust", number(0)),
                ("dateStatusList", list(dated)),
                ("replicates", list(named("Replicate"))),
            ]),
        ),
        (
            "PoolReputation",
            object([
                ("workerpool", named("Address")),
                ("canaryRatePpm", number(0)),
                ("total", json!({"type": "object"})),
                ("canariesPassed", number(0)),
                ("canariesFailed", number(0)),
                ("workers", list(object([("worker", named("Address")), ("standing", text())]))),
            ]),
        ),
        (
            "TaskLogs",
            object([
                ("chainTaskId", named("Bytes32")),
                (
                    "computeLogsList",
                    list(object([
                        ("walletAddress", named("Address")),
                        ("stdout", text()),
                        ("stderr", text()),
                    ])),
                ),
            ]),
        ),
        (
            "LogLine",
            json!({
                "description": "One line of many: a piece, or how the task ended.",
                "oneOf": [
                    object([
                        ("seq", number(0)),
                        ("at", named("Moment")),
                        ("worker", named("Address")),
                        ("stream", one_of(&["stdout", "stderr"])),
                        ("text", text()),
                    ]),
                    object([("end", text())]),
                ],
            }),
        ),
        (
            "WorkerpoolAuthorization",
            object([
                ("chainTaskId", named("Bytes32")),
                ("dealId", named("Bytes32")),
                ("taskIndex", number(0)),
                ("workerWallet", named("Address")),
                ("enclaveChallenge", named("Address")),
                ("signature", object([("value", named("Hex"))])),
            ]),
        ),
        (
            "TeeProperties",
            object([
                ("teeFramework", one_of(&["SCONE", "GRAMINE", "TDX"])),
                ("teeFrameworkVersion", text()),
                ("preComputeProperties", json!({"type": "object"})),
                ("postComputeProperties", json!({"type": "object"})),
            ]),
        ),
        (
            "Rpc",
            json!({
                "type": "object",
                "properties": {
                    "jsonrpc": {"const": "2.0"}, "id": {}, "method": {"type": "string", "enum": ["eth_chainId", "eth_blockNumber", "eth_getLogs", "eth_call", "eth_getBlockByNumber"]},
                    "params": {"type": "array"},
                },
                "required": ["method"],
            }),
        ),
    ])
}
