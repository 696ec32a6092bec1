//! Why a task has no result here, as the scheduler and in the end the requester are told.

use wire::Failure;
use wire::link::{Blame, RunFailure};

use crate::enclave::Mishap;
use crate::fetch::FetchError;
use crate::registry::PullError;

/// The most of a program's output that travels with a failure.
const TAIL_BYTES_MAX: usize = 4 << 10;
/// The most of a failure's text; strangers' words may be in it.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// A task that brought no result, or a result that could not be delivered.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the program cannot be fetched from {from}: {error}")]
    Program { from: String, error: FetchError },
    #[error(
        "the program fetched from {from} is not the one that was registered: its SHA-256 is {found}"
    )]
    OtherProgram { from: String, found: String },
    #[error("apps of kind '{kind}' do not run here; WASM and DOCKER do")]
    Kind { kind: String },
    #[error("'{image}' names no image and no file")]
    NoImageName { image: String },
    #[error("the image {image} cannot be pulled: {error}")]
    Registry { image: String, error: PullError },
    #[error("the deal asks for what this worker does not have: {what}")]
    Demand { what: String },
    #[error("this worker does not have what the deal asks for, another may: {what}")]
    Lacks { what: String },
    #[error("the input {url} cannot be fetched: {error}")]
    Input { url: String, error: FetchError },
    #[error("the input {url} is not the one that was named: its SHA-256 is {found}")]
    OtherInput { url: String, found: String },
    #[error("the inputs cannot be used: {0}")]
    Inputs(String),
    #[error("the dataset cannot be used: {0}")]
    Dataset(String),
    #[error("the dataset cannot be fetched: {0}")]
    DatasetFetch(FetchError),
    #[error("the assignment does not fit the chain: {0}")]
    Assignment(String),
    #[error("the worker cannot read the chain: {0}")]
    Chain(String),
    #[error("the worker takes no more tasks: {0}")]
    Busy(&'static str),
    #[error("the chain did not take the contribution: {0}")]
    Contribution(String),
    #[error("the worker's stake is too low: {0}")]
    Stake(String),
    #[error("the result cannot be revealed: {0}")]
    Reveal(String),
    #[error("the result cannot be uploaded: {0}")]
    Upload(String),
    #[error("the worker holds no result of this task")]
    NotHeld,
    #[error("the deal has a callback, and the program gave no callback-data")]
    NoCallbackData,
    #[error("the worker's machine failed while {doing}: {detail}")]
    Host { doing: &'static str, detail: String },
    #[error("{}: {}", .0.cause, .0.detail)]
    Enclave(Mishap),
    #[error("{0}")]
    Run(Box<sandbox::Failure>),
}

impl From<Mishap> for Trouble {
    fn from(mishap: Mishap) -> Self {
        Self::Enclave(mishap)
    }
}

impl Trouble {
    /// The host failed at something.
    pub(crate) fn host(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Host { doing, detail: error.to_string() }
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Program { .. } => "GM-4210",
            Self::OtherProgram { .. } => "GM-4211",
            Self::Kind { .. } => "GM-4212",
            Self::NoImageName { .. } => "GM-7024",
            Self::Registry { error, .. } if error.is_ours() => "GM-7023",
            Self::Registry { .. } => "GM-7022",
            Self::Demand { .. } | Self::Lacks { .. } => "GM-4213",
            Self::Input { error, .. } if error.is_forbidden() => "GM-4215",
            Self::Input { error, .. } if error.is_excessive() => "GM-4216",
            Self::Input { .. } => "GM-4214",
            Self::OtherInput { .. } => "GM-8606",
            Self::Inputs(_) => "GM-4217",
            Self::Dataset(_) | Self::DatasetFetch(_) => "GM-4218",
            Self::Assignment(_) => "GM-4219",
            Self::Chain(_) => "GM-4220",
            Self::Busy(_) => "GM-4221",
            Self::Contribution(_) => "GM-4222",
            Self::Stake(_) => "GM-4223",
            Self::Reveal(_) => "GM-4224",
            Self::Upload(_) => "GM-4225",
            Self::NotHeld => "GM-4226",
            Self::NoCallbackData => "GM-4227",
            Self::Host { .. } => "GM-4228",
            Self::Enclave(mishap) if mishap.cause.starts_with("PRE_COMPUTE") => "GM-4242",
            Self::Enclave(mishap) if mishap.cause.starts_with("POST_COMPUTE") => "GM-4243",
            Self::Enclave(_) => "GM-4241",
            Self::Run(failure) => failure.code(),
        }
    }

    /// The smallest change that would make it work.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Program { .. } => "the app's owner must keep the program where it is registered",
            Self::OtherProgram { .. } => "register the app anew with the program's SHA-256",
            Self::Kind { .. } => "build the program as WebAssembly and register it as WASM",
            Self::NoImageName { .. } => {
                "register the app with an image's name as docker pull takes it, a /ipfs/… address or a URL"
            }
            Self::Registry { error, .. } if error.is_ours() => {
                "another worker may succeed; the operator should check the way to the registry"
            }
            Self::Registry { .. } => {
                "the app's owner must keep the image where everybody can pull it, or add it to the market's storage"
            }
            Self::Demand { .. } => "leave the demand out of the request, or use another workerpool",
            Self::Input { error, .. } if error.is_forbidden() => {
                "give a public http or https URL, or add the file to the market's storage"
            }
            Self::Input { error, .. } if error.is_excessive() => {
                "give a smaller file, or split it into several"
            }
            Self::Input { .. } => "check that the URL can be downloaded without a login",
            Self::OtherInput { .. } => "name the file's right SHA-256, or the right file",
            Self::Inputs(_) => "give fewer or smaller inputs",
            Self::Lacks { .. } => {
                "nothing: another worker is asked; the operator should check what this one offers"
            }
            Self::Dataset(_) | Self::DatasetFetch(_) => {
                "the dataset's owner must keep it where it is registered"
            }
            Self::Assignment(_) => "the scheduler must only assign tasks of its own deals",
            Self::Chain(_) => "another worker may succeed; the operator should check the node",
            Self::Busy(_) => "another worker may take it",
            Self::Contribution(_) => "the scheduler may ask another worker",
            Self::Stake(_) => "the worker's operator must send RLC to the worker's wallet",
            Self::Reveal(_) => "nothing: the chain decides by what others reveal",
            Self::Upload(_) => "the operator should check the scheduler's storage",
            Self::NotHeld => "the scheduler must assign the task before it asks for its result",
            Self::NoCallbackData => r#"write {"callback-data":"0x…"} to /iexec_out/computed.json"#,
            Self::Host { .. } => {
                "another worker may succeed; its operator finds the cause in the worker's log"
            }
            Self::Enclave(mishap) => match mishap.blame {
                Blame::App => "the app's owner must register it for tee,tdx",
                Blame::Worker => {
                    "another worker may succeed; the operator should check the secret service"
                }
                Blame::Input => {
                    "check the dataset, its key, the inputs and the key for results at the secret service"
                }
            },
            Self::Run(failure) => failure.remedy(),
        }
    }

    /// Who can mend it.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::Program { error, .. } if error.is_ours() => Blame::Worker,
            Self::Input { error, .. } if error.is_ours() => Blame::Worker,
            Self::DatasetFetch(error) if error.is_ours() => Blame::Worker,
            Self::Registry { error, .. } if error.is_ours() => Blame::Worker,
            Self::Program { .. }
            | Self::OtherProgram { .. }
            | Self::Kind { .. }
            | Self::NoImageName { .. }
            | Self::Registry { .. }
            | Self::NoCallbackData => Blame::App,
            Self::Demand { .. }
            | Self::OtherInput { .. }
            | Self::Input { .. }
            | Self::Inputs(_)
            | Self::Dataset(_)
            | Self::DatasetFetch(_) => Blame::Input,
            Self::Lacks { .. }
            | Self::Assignment(_)
            | Self::Chain(_)
            | Self::Busy(_)
            | Self::Contribution(_)
            | Self::Stake(_)
            | Self::Reveal(_)
            | Self::Upload(_)
            | Self::NotHeld
            | Self::Host { .. } => Blame::Worker,
            Self::Enclave(mishap) => mishap.blame,
            Self::Run(failure) => match failure.blame() {
                sandbox::Blame::App => Blame::App,
                sandbox::Blame::Worker => Blame::Worker,
                sandbox::Blame::Input => Blame::Input,
            },
        }
    }

    /// As it travels.
    pub(crate) fn report(&self) -> RunFailure {
        let message: String = self.to_string().chars().take(MESSAGE_CHARS_MAX).collect();
        let failure = Failure::new(self.code(), message, self.remedy());
        let (exit_code, stdout_tail, stderr_tail) = match self {
            Self::Run(run) => (run.exit_code(), tail(&run.stdout_tail), tail(&run.stderr_tail)),
            _ => (None, String::new(), String::new()),
        };
        RunFailure { failure, exit_code, stdout_tail, stderr_tail, blame: self.blame() }
    }
}

impl From<sandbox::Failure> for Trouble {
    fn from(failure: sandbox::Failure) -> Self {
        Self::Run(Box::new(failure))
    }
}

/// The end of what a program printed, as it travels.
pub(crate) fn printed_tail(printed: &[u8]) -> String {
    let from = printed.len().saturating_sub(TAIL_BYTES_MAX);
    tail(&String::from_utf8_lossy(&printed[from..]))
}

fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(TAIL_BYTES_MAX);
    let start = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_is_bounded() {
        let kind = sandbox::FailureKind::NonZeroExit { code: 2 };
        let printed = "é".repeat(TAIL_BYTES_MAX);
        let run =
            sandbox::Failure { kind, stdout_tail: printed.clone(), stderr_tail: "short".into() };
        let report = Trouble::from(run).report();
        assert_eq!(report.exit_code, Some(2));
        assert!(
            report.stdout_tail.len() <= TAIL_BYTES_MAX && printed.ends_with(&report.stdout_tail)
        );
        assert_eq!(report.stderr_tail, "short");
        let report = Trouble::Upload("x".repeat(1 << 20)).report();
        assert_eq!(report.failure.message.chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_failed_input_is_the_requesters_unless_the_network_is_ours() {
        let blame = |error| Trouble::Input { url: "http://x".to_owned(), error }.blame();
        assert_eq!(blame(FetchError::Status(404)), Blame::Input);
        assert_eq!(blame(FetchError::Private), Blame::Input);
        assert_eq!(blame(FetchError::TooLarge(1)), Blame::Input);
        assert_eq!(blame(FetchError::Status(503)), Blame::Worker);
        assert_eq!(blame(FetchError::Connection("reset".to_owned())), Blame::Worker);
    }
}
