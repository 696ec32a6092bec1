//! One entry of the document: a method at a path.

use serde_json::{Map, Value, json};

use super::schemas::{json_of, named};

const JSON: &str = "application/json";

/// What is asked and what is answered.
pub(super) struct Operation {
    method: &'static str,
    path: String,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    security: Option<&'static str>,
}

impl Operation {
    fn new(method: &'static str, path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            summary: summary.into(),
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            security: None,
        }
    }

    pub(super) fn get(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("get", path, summary)
    }

    pub(super) fn head(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("head", path, summary)
    }

    pub(super) fn post(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("post", path, summary)
    }

    pub(super) fn patch(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("patch", path, summary)
    }

    pub(super) fn put(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("put", path, summary)
    }

    /// A part of the path.
    pub(super) fn at(self, name: &str, schema: Value) -> Self {
        self.parameter("path", name, true, schema)
    }

    /// A pair of the query that must be there.
    pub(super) fn needs(self, name: &str, schema: Value) -> Self {
        self.parameter("query", name, true, schema)
    }

    /// A pair of the query that may be there.
    pub(super) fn takes(self, name: &str, schema: Value) -> Self {
        self.parameter("query", name, false, schema)
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, schema: Value) -> Self {
        self.parameters.push(json_of([
            ("name", name.into()),
            ("in", place.into()),
            ("required", required.into()),
            ("schema", schema),
        ]));
        self
    }

    /// A JSON body.
    pub(super) fn body(self, schema: Value) -> Self {
        self.body_of(JSON, schema)
    }

    /// A body of another kind.
    pub(super) fn body_of(mut self, kind: &str, schema: Value) -> Self {
        let content = json_of([(kind, json_of([("schema", schema)]))]);
        self.body = Some(json_of([("required", true.into()), ("content", content)]));
        self
    }

    /// Who may: one of [`security_schemes`].
    pub(super) fn by(mut self, scheme: &'static str) -> Self {
        self.security = Some(scheme);
        self
    }

    /// 200 with JSON.
    pub(super) fn gives(self, schema: Value) -> Self {
        self.answer(200, "It is so.", Some((JSON, schema)))
    }

    /// 200 with something else.
    pub(super) fn gives_other(self, kind: &str) -> Self {
        self.answer(200, "It is so.", Some((kind, json!({}))))
    }

    /// 200 with something else, when the query asks for it.
    pub(super) fn or_gives(mut self, kind: &str, schema: Value) -> Self {
        self.answers["200"]["content"][kind] = json_of([("schema", schema)]);
        self
    }

    /// 204.
    pub(super) fn gives_nothing(self) -> Self {
        self.answer(204, "It is so.", None)
    }

    /// 101: from here on it is a websocket.
    pub(super) fn upgrades(self) -> Self {
        self.answer(101, "A websocket from here on.", None)
    }

    /// Refusals, as JSON.
    pub(super) fn refuses(self, statuses: &[u16]) -> Self {
        statuses.iter().fold(self, |this, status| {
            this.answer(*status, reason(*status), Some((JSON, named("Refusal"))))
        })
    }

    /// Refusals whose body nobody sees.
    pub(super) fn refuses_silently(self, statuses: &[u16]) -> Self {
        statuses.iter().fold(self, |this, status| this.answer(*status, reason(*status), None))
    }

    fn answer(mut self, status: u16, text: &str, content: Option<(&str, Value)>) -> Self {
        let mut answer = json!({"description": text});
        if let Some((kind, schema)) = content {
            answer["content"] = json!({kind: {"schema": schema}});
        }
        self.answers.insert(status.to_string(), answer);
        self
    }

    /// Puts it where it belongs.
    pub(super) fn write(self, tag: &str, paths: &mut Map<String, Value>) {
        let id = self.id();
        let Self { method, path, summary, parameters, body, answers, security } = self;
        let mut entry = json!({
            "tags": [tag], "summary": summary, "operationId": id, "responses": answers,
        });
        if !parameters.is_empty() {
            entry["parameters"] = parameters.into();
        }
        if let Some(body) = body {
            entry["requestBody"] = body;
        }
        if let Some(scheme) = security {
            entry["security"] = json!([{scheme: []}]);
        }
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = entry;
    }

    /// A name for it, made of its method and path.
    fn id(&self) -> String {
        let parts = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        parts.filter(|part| !part.is_empty()).fold(self.method.to_owned(), |mut id, part| {
            let (first, rest) = part.split_at(1);
            id += &first.to_ascii_uppercase();
            id += rest;
            id
        })
    }
}

/// Who may do what, by name.
pub(super) fn security_schemes() -> Value {
    let header = |about: &str| json!({"type": "apiKey", "in": "header", "name": "Authorization", "description": about});
    json!({
        "wallet": header(
            "<EIP-712 hash of a challenge>_<signature>_<wallet>. Each challenge of the market opens once.",
        ),
        "signature": header(
            "The owner's signature, as an Ethereum message, over the hash of what is set.",
        ),
        "upload": {"type": "http", "scheme": "bearer", "description": "The token of a worker's login."},
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "It cannot be read; the text says why.",
        401 => "The authorization is missing or wrong.",
        403 => "The authorization is missing, wrong or used, or a rule of the market forbids it.",
        404 => "There is none.",
        409 => "It does not fit what is there.",
        413 => "It is too large.",
        426 => "This is for websockets.",
        429 => "Too often.",
        503 => "Not now; the text says why.",
        _ => "It is refused.",
    }
}
