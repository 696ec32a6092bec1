//! Every way in which a run can end without a result.

use std::fmt;
use std::time::Duration;

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The program, hence its owner.
    App,
    /// The machine that ran it: another one may well succeed.
    Worker,
    /// What the requester gave it.
    Input,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Worker => "worker",
            Self::Input => "input",
        })
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureKind {
    /// The file does not begin like WebAssembly.
    #[error("the program is not WebAssembly: {detail}")]
    NotWasm {
        /// What it looks like instead.
        detail: String,
    },
    /// It is WebAssembly, but invalid or of a kind that is not run here.
    #[error("the program cannot be compiled: {detail}")]
    Uncompilable {
        /// The compiler's words.
        detail: String,
    },
    /// It asks the host for something that no host here gives.
    #[error("the program imports '{name}', which is not part of WASI preview 1 or 2")]
    MissingImport {
        /// The import, `module::name`.
        name: String,
    },
    /// There is nothing to start.
    #[error("the program has no entry point: a WASI command exports '_start' or wasi:cli/run")]
    NoEntryPoint,
    /// The file is larger than a program may be.
    #[error("the program has {bytes} bytes; at most {limit} are run")]
    ProgramTooLarge {
        /// Its size.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// It stopped itself by an illegal operation.
    #[error("the program trapped: {reason}")]
    Trapped {
        /// Which operation.
        reason: String,
    },
    /// It wanted more memory than it may have.
    #[error("the program ran out of memory: its limit is {limit_bytes} bytes")]
    OutOfMemory {
        /// The most.
        limit_bytes: usize,
    },
    /// The clock ran out.
    #[error("the program ran out of time after {limit:?}")]
    OutOfTime {
        /// The most.
        limit: Duration,
    },
    /// The instructions ran out.
    #[error("the program ran out of fuel after {limit} units of work")]
    OutOfFuel {
        /// The most.
        limit: u64,
    },
    /// It printed or wrote too much.
    #[error("the program wrote more than {limit} bytes to {what}")]
    OutputTooLarge {
        /// Where: `stdout`, `stderr` or `/iexec_out`.
        what: &'static str,
        /// The most.
        limit: u64,
    },
    /// It made too many files.
    #[error("the program made more than {limit} files and directories in /iexec_out")]
    TooManyFiles {
        /// The most.
        limit: usize,
    },
    /// It said itself that it failed.
    #[error("the program exited with code {code}")]
    NonZeroExit {
        /// Its exit code.
        code: i32,
    },
    /// It ended well but did not say what its result is.
    #[error("the program wrote no /iexec_out/computed.json")]
    MissingComputedJson,
    /// It said so, but not in the agreed form.
    #[error("/iexec_out/computed.json is not usable: {detail}")]
    BadComputedJson {
        /// What is wrong with it.
        detail: String,
    },
    /// What it declared does not exist.
    #[error("computed.json declares '{path}', but nothing is there")]
    ResultMissing {
        /// The path.
        path: String,
    },
    /// What it declared is not in `/iexec_out`.
    #[error("computed.json declares '{path}', which is not inside /iexec_out")]
    ResultOutside {
        /// The path.
        path: String,
    },
    /// There is a link or another special file, through which a result could reach outside.
    #[error("/iexec_out/{path} is neither a file nor a directory")]
    SpecialFile {
        /// The path below `/iexec_out`.
        path: String,
    },
    /// A name that not every system can keep.
    #[error(
        "the file name '{path}' in /iexec_out cannot be kept: it has a backslash, a colon, is no UTF-8 or too long"
    )]
    BadFileName {
        /// The path below `/iexec_out`.
        path: String,
    },
    /// Programs of this kind do not run on this machine.
    #[error("{what} do not run here: nothing to run them was found at the start")]
    NoRuntime {
        /// Which kind.
        what: &'static str,
    },
    /// It is to be given more GPUs than there are.
    #[error("the task wants {wanted} GPUs, and this worker has {here}")]
    NoGpu {
        /// How many.
        wanted: u32,
        /// How many there are.
        here: u32,
    },
    /// It had no room left for what it keeps while it runs.
    #[error(
        "the program failed, and says that a disk is full: /tmp and /dev/shm have {limit} bytes each"
    )]
    DiskFull {
        /// How much there is.
        limit: u64,
    },
    /// An image that is broken, too large, or not for this machine.
    #[error("the image cannot be used: {detail}")]
    BadImage {
        /// What is wrong with it.
        detail: String,
    },
    /// An image that is not the one that was registered.
    #[error("the image is not the one that was registered: its digest is {found}")]
    OtherImage {
        /// What it is: the SHA-256 of its configuration.
        found: String,
    },
    /// What the image says to start cannot be started.
    #[error("the image's program cannot be started: {detail}")]
    NotExecutable {
        /// The runtime's words.
        detail: String,
    },
    /// The command line of the request cannot be split.
    #[error("the arguments cannot be used: {detail}")]
    BadArguments {
        /// Why.
        detail: String,
    },
    /// The caller asked to stop.
    #[error("the run was cancelled")]
    Cancelled,
    /// The machine failed, not the program.
    #[error("the worker's machine failed while {doing}: {detail}")]
    Host {
        /// What it was doing.
        doing: &'static str,
        /// Its words.
        detail: String,
    },
}

impl FailureKind {
    /// The stable code, the same in logs, answers and the documentation.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm { .. } => "GM-4151",
            Self::Uncompilable { .. } => "GM-4152",
            Self::MissingImport { .. } => "GM-4153",
            Self::NoEntryPoint => "GM-4154",
            Self::ProgramTooLarge { .. } => "GM-4155",
            Self::Trapped { .. } => "GM-4110",
            Self::OutOfMemory { .. } => "GM-4111",
            Self::OutOfTime { .. } => "GM-4112",
            Self::OutOfFuel { .. } => "GM-4113",
            Self::OutputTooLarge { .. } => "GM-4114",
            Self::TooManyFiles { .. } => "GM-4115",
            Self::NonZeroExit { .. } => "GM-4116",
            Self::MissingComputedJson => "GM-4120",
            Self::BadComputedJson { .. } => "GM-4121",
            Self::ResultMissing { .. } => "GM-4122",
            Self::ResultOutside { .. } => "GM-4123",
            Self::SpecialFile { .. } => "GM-4124",
            Self::BadFileName { .. } => "GM-4125",
            Self::NoRuntime { .. } => "GM-4160",
            Self::NoGpu { .. } => "GM-7020",
            Self::DiskFull { .. } => "GM-7021",
            Self::BadImage { .. } => "GM-4161",
            Self::OtherImage { .. } => "GM-4162",
            Self::NotExecutable { .. } => "GM-4163",
            Self::BadArguments { .. } => "GM-4130",
            Self::Cancelled => "GM-4190",
            Self::Host { .. } => "GM-4191",
        }
    }

    /// The smallest change that would make it work.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotWasm { .. } => "compile the program for wasm32-wasi and give the .wasm file",
            Self::Uncompilable { .. } => {
                "compile for wasm32-wasi without threads, shared memory or garbage collection"
            }
            Self::MissingImport { .. } => {
                "compile for wasm32-wasi; browser or emscripten modules have no host here"
            }
            Self::NoEntryPoint => "build a command with a main function, not a library",
            Self::ProgramTooLarge { .. } => {
                "strip the program (-s, wasm-opt) or give its data as an input file"
            }
            Self::Trapped { .. } => {
                "run the program locally with the same inputs to see where it traps"
            }
            Self::OutOfMemory { .. } => {
                "process the input in pieces, so that less is in memory at once"
            }
            Self::OutOfTime { .. } | Self::OutOfFuel { .. } => {
                "ask for a longer category, or split the work into several tasks"
            }
            Self::OutputTooLarge { .. } | Self::TooManyFiles { .. } => {
                "write less, or fewer and larger files"
            }
            Self::NonZeroExit { .. } => "read the program's stderr for its reason",
            Self::MissingComputedJson => {
                r#"write {"deterministic-output-path":"/iexec_out/stdout.txt"} to /iexec_out/computed.json"#
            }
            Self::BadComputedJson { .. } => {
                r#"give either "deterministic-output-path" (a path) or "callback-data" (0x and hexadecimal)"#
            }
            Self::ResultMissing { .. } => {
                "write the file before the program ends, under the very name it declares"
            }
            Self::ResultOutside { .. } => {
                "declare a path that starts with /iexec_out/ and has no '..'"
            }
            Self::SpecialFile { .. } => "write files and directories only, no links",
            Self::BadFileName { .. } => "give the file another name",
            Self::NoRuntime { .. } => {
                "another worker may run it; on this one install runc or crun (Debian: apt-get install runc) and start it as root"
            }
            Self::NoGpu { .. } => {
                "use a workerpool whose workers have GPUs, or leave the gpu tag out of the request"
            }
            Self::DiskFull { .. } => {
                "write large files to /iexec_out, and remove what is not needed any more"
            }
            Self::BadImage { .. } => {
                "save the image for linux and this architecture with docker save, with layers packed by gzip or not at all"
            }
            Self::OtherImage { .. } => {
                "register the app anew with the digest of the image's manifest, or of its archive"
            }
            Self::NotExecutable { .. } => "check the image's ENTRYPOINT and CMD, and the arguments",
            Self::BadArguments { .. } => "close every quote in the arguments",
            Self::Cancelled => "nothing to do: the result was no longer wanted",
            Self::Host { .. } => {
                "another worker may succeed; its operator finds the cause in the worker's log"
            }
        }
    }

    /// Who can mend it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadArguments { .. } => Blame::Input,
            Self::Cancelled | Self::Host { .. } | Self::NoRuntime { .. } | Self::NoGpu { .. } => {
                Blame::Worker
            }
            _ => Blame::App,
        }
    }
}

/// A run that gave no result, with what the program had printed by then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The end of its standard output, as text.
    pub stdout_tail: String,
    /// The end of its standard error, as text.
    pub stderr_tail: String,
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The smallest change that would make it work.
    pub fn remedy(&self) -> &'static str {
        self.kind.remedy()
    }

    /// Who can mend it.
    pub fn blame(&self) -> Blame {
        self.kind.blame()
    }

    /// The program's exit code, if it came to one.
    pub fn exit_code(&self) -> Option<i32> {
        match self.kind {
            FailureKind::NonZeroExit { code } => Some(code),
            _ => None,
        }
    }

    /// Whether the same job could succeed on another machine.
    pub fn is_retryable(&self) -> bool {
        self.blame() == Blame::Worker
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self { kind, stdout_tail: String::new(), stderr_tail: String::new() }
    }
}

/// Tells what the host was doing when it failed.
pub(crate) fn host(doing: &'static str) -> impl Fn(std::io::Error) -> FailureKind {
    move |error| FailureKind::Host { doing, detail: error.to_string() }
}
