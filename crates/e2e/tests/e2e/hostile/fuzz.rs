//! Requests made by chance from the market's own description: right ones, nearly right ones, and nonsense.
//!
//! The same seed makes the same requests; `GRISTMILL_FUZZ_SEED` and `GRISTMILL_FUZZ_REQUESTS` choose another seed and
//! another number of them.

use serde_json::{Map, Value, json};

/// Values that have broken somebody's server.
const NASTY: [&str; 34] = [
    "",
    "0",
    "-1",
    "-0",
    "1.5",
    "1e3",
    "1e309",
    "NaN",
    "null",
    "true",
    "undefined",
    "any",
    "0x",
    "0xzz",
    "0X00",
    "99999999999999999999999999999999999999999",
    "9007199254740992",
    "18446744073709551616",
    "../../../etc/passwd",
    "..",
    ".",
    "//",
    "%",
    "%zz",
    "%00",
    "%ff%fe",
    "' OR 1=1 --",
    "<script>",
    "{{7*7}}",
    "é漢😀",
    "a b",
    "a&b=c",
    "\u{202e}",
    "{}",
];

/// Numbers by chance, the same for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides.max(1) as u64).unwrap_or(0)
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(*self.pick(b"0123456789abcdef"))).collect()
    }
}

/// One operation of the description.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) entry: Value,
}

/// All operations of a document.
pub(super) fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, methods)| {
            methods.as_object().into_iter().flatten().map(|(method, entry)| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                entry: entry.clone(),
            })
        })
        .collect()
}

/// A request to send.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Makes a request for that operation.
pub(super) fn request(
    dice: &mut Dice,
    document: &Value,
    operation: &Operation,
    chain_id: u64,
) -> Request {
    let mut maker = Maker { dice, document, chain_id };
    let target = maker.target(operation);
    let headers = maker.headers(operation);
    let body = maker.body(operation);
    Request { method: operation.method.clone(), target, headers, body }
}

struct Maker<'a> {
    dice: &'a mut Dice,
    document: &'a Value,
    chain_id: u64,
}

impl Maker<'_> {
    fn target(&mut self, operation: &Operation) -> String {
        let mut target = operation.path.clone();
        let mut query = Vec::new();
        for parameter in operation.entry["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            let required = parameter["required"] == true;
            if parameter["in"] == "path" {
                let value = self.word(name, &parameter["schema"]);
                let value = if value.is_empty() { "-".to_owned() } else { self.encoded(&value) };
                target = target.replace(&format!("{{{name}}}"), &value);
                continue;
            }
            let left_out = if required { self.dice.one_in(12) } else { !self.dice.one_in(3) };
            if left_out {
                continue;
            }
            for _ in 0..=usize::from(self.dice.one_in(20)) {
                let value = self.word(name, &parameter["schema"]);
                query.push(format!("{name}={}", self.encoded(&value)));
            }
        }
        if self.dice.one_in(20) {
            query.push("unknown[]=1&&=&%&".to_owned());
        }
        if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) }
    }

    fn headers(&mut self, operation: &Operation) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if operation.entry.get("security").is_some() && !self.dice.one_in(5) {
            let (hash, sign, wallet) = (self.dice.hex(64), self.dice.hex(130), self.dice.hex(40));
            headers.push((
                "authorization",
                match self.dice.below(5) {
                    0 => format!("0x{hash}_0x{sign}_0x{wallet}"),
                    1 => format!("0x{sign}"),
                    2 => format!("Bearer {hash}"),
                    3 => "__".to_owned(),
                    _ => "x".repeat(self.dice.below(4_000)),
                },
            ));
        }
        if self.dice.one_in(4) {
            let kinds =
                ["application/json", "text/plain", "multipart/form-data", "x", "a/b; c=\"d"];
            headers.push(("content-type", (*self.dice.pick(&kinds)).to_owned()));
        } else if let Some(kind) = body_of(operation).and_then(|content| content.keys().next()) {
            let boundary = if kind.starts_with("multipart") { "; boundary=b" } else { "" };
            headers.push(("content-type", format!("{kind}{boundary}")));
        }
        if self.dice.one_in(8) {
            headers.push(("range", format!("bytes={}", self.dice.pick(&NASTY).escape_default())));
        }
        headers
    }

    fn body(&mut self, operation: &Operation) -> Vec<u8> {
        let Some((kind, content)) = body_of(operation).and_then(|content| content.iter().next())
        else {
            return Vec::new();
        };
        match self.dice.below(8) {
            0 => return Vec::new(),
            1 => {
                return (0..self.dice.below(300))
                    .map(|_| self.dice.hex(2).into_bytes()[0])
                    .collect();
            }
            2 => return (0..self.dice.below(300)).map(|_| self.byte()).collect(),
            3 => return "[".repeat(self.dice.below(20_000)).into_bytes(),
            _ => {}
        }
        if kind.starts_with("multipart") {
            let content = self.dice.hex(64);
            let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n";
            return format!(
                "{head}content-type: application/octet-stream\r\n\r\n{content}\r\n--b--\r\n"
            )
            .into_bytes();
        }
        if kind != "application/json" {
            return self.dice.pick(&NASTY).as_bytes().to_vec();
        }
        self.value("", &content["schema"], 0).to_string().into_bytes()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.dice.below(256)).unwrap_or_default()
    }

    /// Text for a place where only text fits.
    fn word(&mut self, name: &str, schema: &Value) -> String {
        match self.value(name, schema, 0) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Encodes what a URL cannot hold; sometimes leaves what is only half an encoding.
    fn encoded(&mut self, text: &str) -> String {
        if text.starts_with('%') && self.dice.one_in(2) {
            return text.to_owned();
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        text.bytes().fold(String::new(), |out, byte| match plain(byte) {
            true => out + &char::from(byte).to_string(),
            false => format!("{out}%{byte:02X}"),
        })
    }

    /// Something that is of that shape, or that nearly is.
    fn value(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        if self.dice.one_in(9) {
            return self.nonsense();
        }
        if name == "chainId" && !self.dice.one_in(10) {
            return self.chain_id.into();
        }
        if let Some(at) = schema["$ref"].as_str() {
            let schema = self.document.pointer(at.trim_start_matches('#')).cloned();
            return self.value(name, &schema.unwrap_or_default(), depth + 1);
        }
        if let Some(choices) = schema["anyOf"].as_array().filter(|choices| !choices.is_empty()) {
            let choice = self.dice.pick(choices).clone();
            return self.value(name, &choice, depth + 1);
        }
        if let Some(word) = schema.get("const") {
            return word.clone();
        }
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.is_empty()) {
            return self.dice.pick(words).clone();
        }
        match schema["type"].as_str() {
            Some("object") if depth < 8 => self.object(schema, depth),
            Some("array") if depth < 8 => {
                let items = 0..self.dice.below(4);
                items.map(|_| self.value("", &schema["items"], depth + 1)).collect()
            }
            Some("integer") => self.number(schema),
            Some("boolean") => self.dice.one_in(2).into(),
            Some("string") => self.text(schema).into(),
            _ => self.nonsense(),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if !self.dice.one_in(25) {
                object.insert(name.clone(), self.value(name, field, depth + 1));
            }
        }
        object.into()
    }

    fn number(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_u64().unwrap_or(0);
        match self.dice.below(6) {
            0 => schema["maximum"].clone(),
            1 => u64::MAX.into(),
            2 => json!(-1),
            _ => (least + self.dice.below(30) as u64).into(),
        }
    }

    fn text(&mut self, schema: &Value) -> String {
        match schema["pattern"].as_str() {
            Some(pattern) if pattern.contains("{40}") => format!("0x{}", self.dice.hex(40)),
            Some(pattern) if pattern.starts_with("^0x") && pattern.contains("{64}") => {
                format!("0x{}", self.dice.hex(64))
            }
            Some(pattern) if pattern.starts_with("^0x") => format!("0x{}", self.dice.hex(130)),
            _ => {
                let digits = 1 + self.dice.below(64);
                self.dice.hex(digits)
            }
        }
    }

    fn nonsense(&mut self) -> Value {
        match self.dice.below(8) {
            0 => Value::Null,
            1 => json!([[], {}]),
            2 => json!({"": null}),
            3 => "x".repeat(self.dice.below(3_000)).into(),
            4 => format!("0x{}", self.dice.hex(41)).into(),
            _ => (*self.dice.pick(&NASTY)).into(),
        }
    }
}

fn body_of(operation: &Operation) -> Option<&Map<String, Value>> {
    operation.entry["requestBody"]["content"].as_object()
}
