//! The parameters of a request: the text inside its order.
//!
//! The text is a JSON object with keys of its own (`execution.md` of the protocol's documentation calls them
//! `iexec_*`). A text that is not such an object, or that has a key nobody knows, is taken whole as the program's
//! arguments, because the protocol's own worker does so and requesters rely on it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Where the result goes when it is not handed to a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorageProvider {
    /// Content-addressed storage; what is meant when nothing is said.
    #[default]
    Ipfs,
    /// The requester's Dropbox.
    Dropbox,
}

/// What a request asks for besides its prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// The program's arguments, as one command line.
    pub args: Option<String>,
    /// Addresses of the inputs, in order.
    pub input_files: Vec<String>,
    /// Names of the requester's secrets, by the number the program knows them by.
    pub secrets: BTreeMap<u32, String>,
    /// Whether the result is encrypted for the beneficiary.
    pub result_encryption: bool,
    /// Where the result goes; nothing means the default.
    pub storage_provider: Option<StorageProvider>,
    /// The address of a result proxy of the requester's choice; kept because older requests carry it.
    pub storage_proxy: Option<String>,
    /// The content id of the list of datasets that a bulk request works on.
    pub bulk_cid: Option<String>,
}

impl Params {
    /// Reads the text of an order. It cannot fail: what is not parameters is arguments.
    pub fn parse(text: &str) -> Self {
        Self::parse_strictly(text)
            .unwrap_or_else(|| Self { args: Some(text.to_owned()), ..Self::default() })
    }

    /// Writes the text of an order; keys that say nothing are left out, so empty parameters are `{}`.
    pub fn to_text(&self) -> String {
        let mut object = Map::new();
        if let Some(args) = &self.args {
            object.insert(ARGS.into(), Value::from(args.as_str()));
        }
        if !self.input_files.is_empty() {
            object.insert(INPUT_FILES.into(), Value::from(self.input_files.clone()));
        }
        if !self.secrets.is_empty() {
            let secrets =
                self.secrets.iter().map(|(n, name)| (n.to_string(), name.as_str().into()));
            object.insert(SECRETS.into(), Value::Object(secrets.collect()));
        }
        if self.result_encryption {
            object.insert(RESULT_ENCRYPTION.into(), Value::Bool(true));
        }
        if let Some(provider) = self.storage_provider {
            let name = match provider {
                StorageProvider::Ipfs => "ipfs",
                StorageProvider::Dropbox => "dropbox",
            };
            object.insert(STORAGE_PROVIDER.into(), name.into());
        }
        if let Some(proxy) = &self.storage_proxy {
            object.insert(STORAGE_PROXY.into(), Value::from(proxy.as_str()));
        }
        if let Some(cid) = &self.bulk_cid {
            object.insert(BULK_CID.into(), Value::from(cid.as_str()));
        }
        Value::Object(object).to_string()
    }

    fn parse_strictly(text: &str) -> Option<Self> {
        let Value::Object(object) = serde_json::from_str(text).ok()? else { return None };
        let mut params = Self::default();
        for (key, value) in object {
            params.set(&key, value)?;
        }
        Some(params)
    }

    fn set(&mut self, key: &str, value: Value) -> Option<()> {
        match (key, value) {
            (_, Value::Null) if is_known(key) => {}
            (ARGS, value) => self.args = Some(scalar_text(value)?),
            (INPUT_FILES, Value::String(list)) => self.input_files = split_list(&list),
            (INPUT_FILES, Value::Array(list)) => {
                self.input_files = list.into_iter().map(scalar_text).collect::<Option<_>>()?;
            }
            (SECRETS, Value::Object(secrets)) => self.secrets = numbered(secrets)?,
            (RESULT_ENCRYPTION, Value::Bool(wanted)) => self.result_encryption = wanted,
            (STORAGE_PROVIDER, Value::String(name)) => self.storage_provider = provider(&name)?,
            (STORAGE_PROXY, Value::String(proxy)) => self.storage_proxy = Some(proxy),
            (BULK_CID, Value::String(cid)) => self.bulk_cid = Some(cid),
            (DEVELOPER_LOGGER, Value::Bool(_)) => {}
            _ => return None,
        }
        Some(())
    }
}

const ARGS: &str = "iexec_args";
const INPUT_FILES: &str = "iexec_input_files";
const SECRETS: &str = "iexec_secrets";
const RESULT_ENCRYPTION: &str = "iexec_result_encryption";
const STORAGE_PROVIDER: &str = "iexec_result_storage_provider";
const STORAGE_PROXY: &str = "iexec_result_storage_proxy";
const BULK_CID: &str = "bulk_cid";
/// Once switched debug logs on; means nothing any more, and old requests still carry it.
const DEVELOPER_LOGGER: &str = "iexec_developer_logger";

fn is_known(key: &str) -> bool {
    matches!(
        key,
        ARGS | INPUT_FILES
            | SECRETS
            | RESULT_ENCRYPTION
            | STORAGE_PROVIDER
            | STORAGE_PROXY
            | BULK_CID
            | DEVELOPER_LOGGER
    )
}

/// Text, or a number or truth value as it prints; the official reader accepts these too.
fn scalar_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn split_list(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn numbered(secrets: Map<String, Value>) -> Option<BTreeMap<u32, String>> {
    let pairs = secrets.into_iter().map(|(number, name)| {
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, scalar_text(name)?))
    });
    pairs.collect()
}

/// An empty name means the default, as it does to the official worker.
fn provider(name: &str) -> Option<Option<StorageProvider>> {
    match name {
        "" => Some(None),
        "ipfs" => Some(Some(StorageProvider::Ipfs)),
        "dropbox" => Some(Some(StorageProvider::Dropbox)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(&Params::parse(text).to_text());
    }

    #[test]
    fn known_keys_are_read_and_written_back() {
        check("{}", &expect!["{}"]);
        check(
            r#"{"iexec_args":"--count 3","iexec_input_files":["http://a/x","/ipfs/Qm"]}"#,
            &expect![[
                r#"{"iexec_args":"--count 3","iexec_input_files":["http://a/x","/ipfs/Qm"]}"#
            ]],
        );
        check(
            r#"{"iexec_input_files":"http://a/x, http://a/y"}"#,
            &expect![[r#"{"iexec_input_files":["http://a/x","http://a/y"]}"#]],
        );
        check(
            r#"{"iexec_secrets":{"2":"b","1":"a"},"iexec_result_encryption":true,"iexec_result_storage_provider":"dropbox"}"#,
            &expect![[
                r#"{"iexec_result_encryption":true,"iexec_result_storage_provider":"dropbox","iexec_secrets":{"1":"a","2":"b"}}"#
            ]],
        );
        check(r#"{"iexec_developer_logger":true}"#, &expect!["{}"]);
    }

    #[test]
    fn what_is_not_parameters_is_arguments() {
        check("", &expect![[r#"{"iexec_args":""}"#]]);
        check("--lang fr", &expect![[r#"{"iexec_args":"--lang fr"}"#]]);
        check("[1]", &expect![[r#"{"iexec_args":"[1]"}"#]]);
        check(r#"{"unknown":1}"#, &expect![[r#"{"iexec_args":"{\"unknown\":1}"}"#]]);
    }

    proptest! {
        #[test]
        fn any_text_reads_and_what_was_written_reads_back(text in ".{0,80}") {
            let params = Params::parse(&text);
            prop_assert_eq!(Params::parse(&params.to_text()), params);
        }
    }
}
