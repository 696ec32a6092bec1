//! What a program is told through its environment, and what it tells through `computed.json`.

use alloy_primitives::{Address, U256, hex};
use primitives::{DealId, TaskId};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Where a program finds its inputs.
pub(crate) const IN: &str = "/iexec_in";
/// Where a program leaves what it makes.
pub(crate) const OUT: &str = "/iexec_out";
/// The file in which it says what the result is.
pub(crate) const COMPUTED: &str = "computed.json";
/// Captured standard output, beside the program's own files.
pub(crate) const STDOUT: &str = "stdout.txt";
/// Captured standard error, beside the program's own files.
pub(crate) const STDERR: &str = "stderr.txt";
/// A `computed.json` is a few lines, or one callback; anything longer is a mistake.
pub(crate) const MAX_COMPUTED_BYTES: u64 = 1 << 20;

/// What the environment of a program is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// The task's own index in the request's bag (`bot`).
    pub index: U256,
    /// The first index of the deal in the bag.
    pub bot_first: U256,
    /// How many tasks the deal has.
    pub bot_size: U256,
    /// The dataset, or the zero address for none.
    pub dataset: Address,
    /// Names of the input files in `/iexec_in`, in the request's order.
    pub input_names: Vec<String>,
}

/// A variable of a program's environment. Its value may be a secret, so it is wiped when it is dropped.
pub type EnvVar = (String, Zeroizing<String>);

/// The environment of the protocol's program contract; nothing else of the host is visible to a program.
pub fn env_for(facts: &CallFacts) -> Vec<EnvVar> {
    let mut env = vec![
        ("IEXEC_TASK_ID", facts.task.to_string()),
        ("IEXEC_DEAL_ID", facts.deal.to_string()),
        ("IEXEC_TASK_INDEX", facts.index.to_string()),
        ("IEXEC_IN", IN.to_owned()),
        ("IEXEC_OUT", OUT.to_owned()),
        ("IEXEC_BOT_SIZE", facts.bot_size.to_string()),
        ("IEXEC_BOT_FIRST_INDEX", facts.bot_first.to_string()),
        ("IEXEC_BOT_TASK_INDEX", facts.index.to_string()),
        ("IEXEC_INPUT_FILES_FOLDER", IN.to_owned()),
        ("IEXEC_INPUT_FILES_NUMBER", facts.input_names.len().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Zeroizing::new(value)))
    .collect::<Vec<_>>();
    if facts.dataset != Address::ZERO {
        let dataset = Zeroizing::new(dataset_name(facts.dataset));
        env.push(("IEXEC_DATASET_ADDRESS".to_owned(), dataset.clone()));
        env.push(("IEXEC_DATASET_FILENAME".to_owned(), dataset));
    }
    for (name, n) in facts.input_names.iter().zip(1..) {
        env.push((format!("IEXEC_INPUT_FILE_NAME_{n}"), Zeroizing::new(name.clone())));
    }
    env
}

/// What a dataset's file is called: its address, in lower case.
pub fn dataset_name(dataset: Address) -> String {
    hex::encode_prefixed(dataset)
}

/// The parts of a `computed.json` that matter here. Other keys are allowed and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Computed {
    deterministic_output_path: Option<String>,
    callback_data: Option<String>,
}

/// What the program declared to be its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// A file or directory in `/iexec_out`: its path below it, `[]` for the whole.
    Path(Vec<String>),
    /// Bytes that go to the requester's contract.
    Callback(Vec<u8>),
}

/// Why a `computed.json` declares no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undeclared {
    /// It is not the JSON it should be.
    Malformed(String),
    /// The path points outside `/iexec_out`.
    Outside(String),
}

impl Computed {
    /// Reads a `computed.json`. Callback bytes win over a path, as they do in the official worker.
    pub(crate) fn declared(json: &[u8]) -> Result<Declared, Undeclared> {
        let computed: Self = serde_json::from_slice(json)
            .map_err(|error| Undeclared::Malformed(error.to_string()))?;
        match (computed.callback_data, computed.deterministic_output_path) {
            (Some(data), _) if !data.is_empty() => callback_bytes(&data).map(Declared::Callback),
            (_, Some(path)) => below_out(&path).map(Declared::Path),
            (_, None) => Err(Undeclared::Malformed(
                "it has neither \"deterministic-output-path\" nor \"callback-data\"".to_owned(),
            )),
        }
    }
}

fn callback_bytes(text: &str) -> Result<Vec<u8>, Undeclared> {
    if !text.starts_with("0x") {
        return Err(Undeclared::Malformed("\"callback-data\" does not start with 0x".to_owned()));
    }
    hex::decode(text).map_err(|error| {
        Undeclared::Malformed(format!("\"callback-data\" is not hexadecimal: {error}"))
    })
}

/// The parts of a path below `/iexec_out`.
fn below_out(path: &str) -> Result<Vec<String>, Undeclared> {
    let outside = || Undeclared::Outside(path.chars().take(200).collect());
    let below = path.strip_prefix(OUT).ok_or_else(outside)?;
    if !below.is_empty() && !below.starts_with('/') {
        return Err(outside());
    }
    let parts: Vec<_> = below.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.iter().any(|part| *part == ".." || part.contains(['\\', '\0'])) {
        return Err(outside());
    }
    Ok(parts.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, want: &Expect) {
        want.assert_eq(&format!("{:?}", Computed::declared(json.as_bytes())));
    }

    #[test]
    fn a_path_must_stay_in_iexec_out() {
        check(
            r#"{"deterministic-output-path":"/iexec_out/a/b.txt"}"#,
            &expect![[r#"Ok(Path(["a", "b.txt"]))"#]],
        );
        check(r#"{"deterministic-output-path":"/iexec_out","x":1}"#, &expect!["Ok(Path([]))"]);
        check(
            r#"{"deterministic-output-path":"/iexec_out//./a/"}"#,
            &expect![[r#"Ok(Path(["a"]))"#]],
        );
        check(
            r#"{"deterministic-output-path":"/iexec_out/../etc/passwd"}"#,
            &expect![[r#"Err(Outside("/iexec_out/../etc/passwd"))"#]],
        );
        check(
            r#"{"deterministic-output-path":"/iexec_output"}"#,
            &expect![[r#"Err(Outside("/iexec_output"))"#]],
        );
        check(r#"{"deterministic-output-path":"a.txt"}"#, &expect![[r#"Err(Outside("a.txt"))"#]]);
    }

    #[test]
    fn callback_bytes_are_hex_and_win_over_a_path() {
        check(
            r#"{"callback-data":"0x0102","deterministic-output-path":"/iexec_out"}"#,
            &expect!["Ok(Callback([1, 2]))"],
        );
        check(
            r#"{"callback-data":"0102"}"#,
            &expect![[r#"Err(Malformed("\"callback-data\" does not start with 0x"))"#]],
        );
        check(
            "{}",
            &expect![[
                r#"Err(Malformed("it has neither \"deterministic-output-path\" nor \"callback-data\""))"#
            ]],
        );
    }

    #[test]
    fn the_environment_names_every_input() {
        let facts = CallFacts {
            task: TaskId::default(),
            deal: DealId::default(),
            index: U256::from(3),
            bot_first: U256::from(2),
            bot_size: U256::from(5),
            dataset: Address::ZERO,
            input_names: vec!["0xaa".to_owned(), "0xbb".to_owned()],
        };
        let env: Vec<_> = env_for(&facts)
            .into_iter()
            .filter(|(name, _)| !name.ends_with("_ID"))
            .map(|(name, value)| format!("{name}={}", *value))
            .collect();
        expect![[r#"
            IEXEC_TASK_INDEX=3
            IEXEC_IN=/iexec_in
            IEXEC_OUT=/iexec_out
            IEXEC_BOT_SIZE=5
            IEXEC_BOT_FIRST_INDEX=2
            IEXEC_BOT_TASK_INDEX=3
            IEXEC_INPUT_FILES_FOLDER=/iexec_in
            IEXEC_INPUT_FILES_NUMBER=2
            IEXEC_INPUT_FILE_NAME_1=0xaa
            IEXEC_INPUT_FILE_NAME_2=0xbb"#]]
        .assert_eq(&env.join("\n"));
    }
}
