//! What an enclave is given: the environment of each of its stages.
//!
//! A session is secret as a whole, so it is neither `Debug` nor serialisable; it becomes bytes only to be sealed and is
//! read only from bytes that were.

use std::collections::BTreeMap;

use seal::Secret;
use serde::{Deserialize, Serialize};

use crate::json::ShapeError;

/// Variables of a stage. Which of them are secrets is not told apart: all are treated so.
pub type Environment = BTreeMap<String, Secret<String>>;

/// A part of the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Fetches and decrypts the inputs.
    PreCompute,
    /// The program.
    App,
    /// Hashes, signs, encrypts and uploads the result.
    PostCompute,
}

impl Stage {
    /// Its name in a session.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreCompute => "pre-compute",
            Self::App => "app",
            Self::PostCompute => "post-compute",
        }
    }
}

/// One stage of a session.
pub struct Service {
    /// Which.
    pub stage: Stage,
    /// What runs: an image, or the app's address as the chain has it.
    pub image_name: String,
    /// What it measures as: of an app, the checksum that the chain has.
    pub fingerprint: String,
    /// Its variables.
    pub environment: Environment,
}

/// Everything that an enclave needs for one task.
pub struct Session {
    /// Its id.
    pub name: String,
    /// Its stages, in order; without inputs there is no pre-compute.
    pub services: Vec<Service>,
}

impl Session {
    /// The stage, if the session has it.
    pub fn stage(&self, stage: Stage) -> Option<&Service> {
        self.services.iter().find(|service| service.stage == stage)
    }

    /// A variable of a stage.
    pub fn variable(&self, stage: Stage, name: &str) -> Option<&Secret<String>> {
        self.stage(stage)?.environment.get(name)
    }

    /// As it is sealed: the official TDX session, and that it is simulated.
    pub fn to_json(&self) -> Result<Secret<Vec<u8>>, ShapeError> {
        let services = self.services.iter().map(|service| SentService {
            name: service.stage.name(),
            image_name: &service.image_name,
            fingerprint: &service.fingerprint,
            environment: service
                .environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.expose().as_str()))
                .collect(),
        });
        let sent = SentSession {
            name: &self.name,
            version: VERSION,
            attestation: SentAttestation { kind: "simulated" },
            services: services.collect(),
        };
        let bytes = serde_json::to_vec(&sent);
        bytes.map(Secret::new).map_err(|_| ShapeError("the session cannot be written".into()))
    }

    /// Reads what [`Self::to_json`] writes. The error does not say what was there instead.
    pub fn from_json(bytes: &Secret<Vec<u8>>) -> Result<Self, ShapeError> {
        let refused = || ShapeError("the session cannot be read".into());
        let read: ReadSession = serde_json::from_slice(bytes.expose()).map_err(|_| refused())?;
        let all = [Stage::PreCompute, Stage::App, Stage::PostCompute];
        let mut services = Vec::new();
        for service in read.services {
            let stage = all.into_iter().find(|stage| stage.name() == service.name);
            let variables = service.environment.into_iter();
            services.push(Service {
                stage: stage.ok_or_else(refused)?,
                image_name: service.image_name,
                fingerprint: service.fingerprint,
                environment: variables.map(|(name, value)| (name, Secret::new(value))).collect(),
            });
        }
        Ok(Self { name: read.name, services })
    }
}

const VERSION: &str = "0.1.0";

#[derive(Serialize)]
struct SentSession<'a> {
    name: &'a str,
    version: &'a str,
    attestation: SentAttestation,
    services: Vec<SentService<'a>>,
}

#[derive(Serialize)]
struct SentAttestation {
    kind: &'static str,
}

#[derive(Serialize)]
struct SentService<'a> {
    name: &'a str,
    image_name: &'a str,
    fingerprint: &'a str,
    environment: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct ReadSession {
    name: String,
    services: Vec<ReadService>,
}

#[derive(Deserialize)]
struct ReadService {
    name: String,
    #[serde(default)]
    image_name: String,
    #[serde(default)]
    fingerprint: String,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reads_back_as_it_was_written() {
        let value = "a \"secret\"\nof two lines";
        let environment = [("KEY".to_owned(), Secret::new(value.to_owned()))].into();
        let service = Service {
            stage: Stage::App,
            image_name: "image".into(),
            fingerprint: "0x01".into(),
            environment,
        };
        let session = Session { name: "one".into(), services: vec![service] };
        let bytes = session.to_json().expect("writes");
        let read = Session::from_json(&bytes).expect("reads");
        assert_eq!(read.name, "one");
        assert_eq!(read.variable(Stage::App, "KEY").map(|key| key.expose().as_str()), Some(value));
        assert!(read.stage(Stage::PreCompute).is_none());
        assert!(Session::from_json(&Secret::new(b"{}".to_vec())).is_err());
    }
}
