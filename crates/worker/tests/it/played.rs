//! Programs and a scheduler, played.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use primitives::TaskId;
use sandbox::{Executed, Execution, Kind, Runtime, Stopped, Stream};
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use wire::Failure;
use wire::link::{Arrival, Gate, Identity, LogStream, SchedulerLink, ToScheduler, ToWorker};
use wire::scheduler::{
    ComputeLogs, ResultBody, SchedulerApi, SchedulerRefusal, TaskModel, UploadLimits,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs "programs" that are words: `echo` prints its arguments and inputs, `reveal` what it was given in confidence, `wait` does so when it is let through, `call`
/// gives data for a callback, `fail` fails.
///
/// As a player of containers it prints what its image is pinned to.
pub(crate) struct Player {
    pub(crate) kind: Kind,
    pub(crate) may_end: Arc<Semaphore>,
}

#[async_trait]
impl Runtime for Player {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn name(&self) -> &'static str {
        if self.kind == Kind::Wasm { "wasm" } else { "oci" }
    }

    async fn execute(
        &self,
        execution: Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let program = fs::read_to_string(&execution.program).unwrap();
        let mut executed =
            Executed { exit_code: 0, stdout: Bytes::new(), stderr: Bytes::new(), fuel_used: 1 };
        if self.kind == Kind::Container {
            executed.stdout = execution.pin.unwrap_or_default().to_string().into_bytes().into();
            let declared = r#"{"deterministic-output-path":"/iexec_out/stdout.txt"}"#;
            fs::write(execution.output.join("computed.json"), declared).unwrap();
            return Ok(executed);
        }
        let mut computed = r#"{"deterministic-output-path":"/iexec_out/stdout.txt"}"#;
        match program.as_str() {
            "echo" | "\0asm" => {}
            "reveal" => {
                executed.stdout = reveal(&execution).into();
                fs::write(execution.output.join("computed.json"), computed).unwrap();
                return Ok(executed);
            }
            "call" => computed = r#"{"callback-data":"0xc0ffee"}"#,
            "wait" => {
                execution.ear.heard(Stream::Stdout, execution.args.join(" ").as_bytes());
                tokio::select! {
                turn = self.may_end.acquire() => turn.unwrap().forget(),
                    () = cancel.cancelled() => return Err(sandbox::FailureKind::Cancelled.into()),
                }
            }
            _ => {
                executed.exit_code = 3;
                executed.stderr = "no luck".into();
                return Ok(executed);
            }
        }
        let mut printed = execution.args.join(" ");
        for (name, value) in &execution.env {
            if name.starts_with("IEXEC_INPUT_FILE_NAME_") {
                printed += &fs::read_to_string(execution.inputs.join(value.as_str())).unwrap();
            }
        }
        executed.stdout = printed.into_bytes().into();
        fs::write(execution.output.join("computed.json"), computed).unwrap();
        Ok(executed)
    }
}

/// What a confidential program was given, without giving its secrets away.
fn reveal(execution: &Execution) -> Vec<u8> {
    let variable = |wanted: &str| {
        let found = execution.env.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.to_string())
    };
    let mut said = vec![execution.args.join(" ")];
    if let Some(name) = variable("IEXEC_DATASET_FILENAME") {
        said.push(fs::read_to_string(execution.inputs.join(name)).unwrap());
    }
    for name in ["IEXEC_APP_DEVELOPER_SECRET", "IEXEC_REQUESTER_SECRET_1"] {
        said.extend(variable(name).map(|secret| format!("{} letters", secret.len())));
    }
    said.join(", ").into_bytes()
}

/// The scheduler's doors, and the gateway beside them.
pub(crate) struct Doors {
    identity: Identity,
    arrivals: mpsc::UnboundedSender<SchedulerLink>,
    pub(crate) uploads: Mutex<HashMap<TaskId, Vec<u8>>>,
    files: HashMap<&'static str, &'static str>,
    /// What the gateway was asked for, in order.
    pub(crate) asked: Mutex<Vec<String>>,
    /// More files at the gateway.
    pub(crate) more: parking_lot::Mutex<HashMap<String, Vec<u8>>>,
    /// Held by a test that wants uploads to wait.
    pub(crate) storage: Mutex<()>,
}

const TOKEN: &str = "open sesame";

impl Doors {
    /// The doors and those who come through them.
    pub(crate) fn new(
        identity: Identity,
        files: HashMap<&'static str, &'static str>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<SchedulerLink>) {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let doors = Self {
            identity,
            arrivals,
            uploads: Mutex::default(),
            files,
            asked: Mutex::default(),
            more: parking_lot::Mutex::default(),
            storage: Mutex::default(),
        };
        (Arc::new(doors), arrived)
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let gate: Arc<dyn Gate> = Arc::<Self>::clone(self);
        let api: Arc<dyn SchedulerApi> = Arc::<Self>::clone(self);
        wire::link::router([gate])
            .merge(wire::scheduler::router([api], UploadLimits::default()))
            .merge(Router::new().route("/ipfs/{name}", get(file)).with_state(Arc::clone(self)))
    }
}

async fn file(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
) -> Result<Vec<u8>, StatusCode> {
    doors.asked.lock().await.push(name.clone());
    if let Some(file) = doors.more.lock().get(&name) {
        return Ok(file.clone());
    }
    let file = doors.files.get(name.as_str()).copied();
    file.map(|file| file.as_bytes().to_vec()).ok_or(StatusCode::NOT_FOUND)
}

#[async_trait]
impl Gate for Doors {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn admit(&self, _: &Arrival) -> Result<String, Failure> {
        Ok(TOKEN.to_owned())
    }

    async fn joined(&self, link: SchedulerLink) {
        self.arrivals.send(link).unwrap();
    }
}

#[async_trait]
impl SchedulerApi for Doors {
    async fn task(&self, _: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    fn chain_id(&self) -> u64 {
        self.identity.chain_id
    }

    async fn logs(&self, _: TaskId, _: Address) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    async fn accept_result(
        &self,
        task: TaskId,
        token: &str,
        mut body: ResultBody,
    ) -> Result<String, SchedulerRefusal> {
        if token != TOKEN {
            return Err(SchedulerRefusal::Unauthorized);
        }
        drop(self.storage.lock().await);
        let mut zip = Vec::new();
        body.read_to_end(&mut zip).await.unwrap();
        self.uploads.lock().await.insert(task, zip);
        Ok(location(task))
    }
}

/// Where the played scheduler says that a result is.
pub(crate) fn location(task: TaskId) -> String {
    format!("/ipfs/Qm{}", &task.to_string()[2..10])
}

/// One worker's connection, with the test at the other end.
pub(crate) struct Played {
    pub(crate) arrival: Arrival,
    link: SchedulerLink,
    /// What programs printed while they ran.
    pub(crate) told: Vec<(LogStream, String)>,
    /// The programs at hand, as they were last told.
    pub(crate) warm: Vec<String>,
}

impl Played {
    pub(crate) fn new(link: SchedulerLink) -> Self {
        Self { arrival: link.arrival.clone(), link, told: Vec::new(), warm: Vec::new() }
    }

    pub(crate) async fn say(&self, message: ToWorker) {
        self.link.sender.send(&message).await.unwrap();
    }

    /// The next word, but for what is said in passing.
    pub(crate) async fn hear(&mut self) -> ToScheduler {
        loop {
            match self.hear_anything().await {
                ToScheduler::Log { stream, text, .. } => self.told.push((stream, text)),
                ToScheduler::Warm { images } => self.warm = images,
                word => return word,
            }
        }
    }

    /// The next piece of what a program prints.
    pub(crate) async fn hear_log(&mut self) -> (TaskId, String) {
        loop {
            if let ToScheduler::Log { task_id, stream, text, .. } = self.hear_anything().await {
                self.told.push((stream, text.clone()));
                return (task_id, text);
            }
        }
    }

    async fn hear_anything(&mut self) -> ToScheduler {
        let heard = tokio::time::timeout(PATIENCE, self.link.receiver.recv()).await;
        heard.expect("a word in time").expect("a connection").unwrap()
    }

    /// Hears words until one is right.
    pub(crate) async fn hear_until<T>(&mut self, right: impl Fn(&ToScheduler) -> Option<T>) -> T {
        loop {
            let word = self.hear().await;
            if let Some(found) = right(&word) {
                return found;
            }
            assert!(!matches!(word, ToScheduler::Failed { .. }), "{word:?}");
        }
    }
}
