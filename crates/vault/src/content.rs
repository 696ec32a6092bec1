//! The session: which variable says what.
//!
//! Names and forms are the protocol's; a program finds its inputs and secrets by them.

use seal::Secret;
use sha2::{Digest, Sha256};
use wire::params::StorageProvider;
use wire::sms::{Environment, Service, Session, Stage};

use crate::facts::{DatasetFacts, Facts, Inputs, Storage};

/// Where a program finds its inputs.
const IN: &str = "/iexec_in";
/// Where it leaves its result.
const OUT: &str = "/iexec_out";

/// The image of the stages around the program: there is none, software of this house does their work.
pub(crate) const SIMULATED_IMAGE: &str = "gristmill/simulated";
/// What they measure as: nothing was measured.
pub(crate) const SIMULATED_FINGERPRINT: &str = "simulated";

/// Puts the session together.
pub(crate) fn compose(name: String, facts: &Facts) -> Session {
    let mut services = Vec::new();
    let house = |stage, environment| Service {
        stage,
        image_name: SIMULATED_IMAGE.to_owned(),
        fingerprint: SIMULATED_FINGERPRINT.to_owned(),
        environment,
    };
    let has_inputs = !facts.params.input_files.is_empty() || !matches!(facts.inputs, Inputs::Open);
    if has_inputs {
        services.push(house(Stage::PreCompute, pre_compute(facts)));
    }
    services.push(Service {
        stage: Stage::App,
        image_name: facts.app.0.clone(),
        fingerprint: facts.app.1.clone(),
        environment: app(facts),
    });
    services.push(house(Stage::PostCompute, post_compute(facts)));
    Session { name, services }
}

/// Variables, by name.
struct Variables(Environment);

impl Variables {
    fn new() -> Self {
        Self(Environment::new())
    }

    #[expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]
    fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.insert(name.into(), Secret::new(value.to_string()));
    }

    fn give(&mut self, name: impl Into<String>, secret: &Secret<String>) {
        self.0.insert(name.into(), secret.duplicate());
    }

    /// What a stage needs to sign as the task's enclave.
    fn sign_as_enclave(&mut self, facts: &Facts) {
        self.set("IEXEC_TASK_ID", facts.id);
        self.set("SIGN_WORKER_ADDRESS", facts.worker);
        self.give("SIGN_TEE_CHALLENGE_PRIVATE_KEY", &facts.enclave_key);
    }

    fn dataset(&mut self, prefix: &str, name: &str, dataset: Option<&DatasetFacts>) {
        match dataset {
            Some(dataset) => {
                self.set(format!("{prefix}_URL"), &dataset.url);
                self.set(format!("{prefix}_CHECKSUM"), &dataset.checksum);
                self.give(format!("{prefix}_KEY"), &dataset.key);
            }
            None => {
                for what in ["URL", "CHECKSUM", "KEY"] {
                    self.set(format!("{prefix}_{what}"), "");
                }
            }
        }
        self.set(format!("{prefix}_FILENAME"), name);
    }
}

fn pre_compute(facts: &Facts) -> Environment {
    let mut variables = Variables::new();
    variables.sign_as_enclave(facts);
    variables.set("IEXEC_PRE_COMPUTE_OUT", IN);
    variables.set("IEXEC_DEAL_ID", facts.task.deal);
    variables.set("IEXEC_TASK_INDEX", facts.task.index);
    variables.set("IS_DATASET_REQUIRED", matches!(facts.inputs, Inputs::Dataset(_)));
    match &facts.inputs {
        Inputs::Open => {}
        Inputs::Dataset(dataset) => {
            variables.dataset("IEXEC_DATASET", &dataset_name(facts), Some(dataset));
        }
        Inputs::Bulk(slice) => {
            variables.set("IEXEC_BULK_SLICE_SIZE", slice.len());
            for (number, (name, dataset)) in (1..).zip(slice) {
                variables.dataset(&format!("IEXEC_DATASET_{number}"), name, dataset.as_ref());
            }
        }
    }
    let files = &facts.params.input_files;
    variables.set("IEXEC_INPUT_FILES_NUMBER", files.len());
    if !files.is_empty() {
        variables.set("IEXEC_INPUT_FILES_FOLDER", IN);
    }
    for (number, url) in (1..).zip(files) {
        variables.set(format!("IEXEC_INPUT_FILE_URL_{number}"), url);
    }
    variables.0
}

fn app(facts: &Facts) -> Environment {
    let mut variables = Variables::new();
    variables.set("IEXEC_DEAL_ID", facts.task.deal);
    variables.set("IEXEC_TASK_INDEX", facts.task.index);
    variables.set("IEXEC_TASK_ID", facts.id);
    variables.set("IEXEC_IN", IN);
    variables.set("IEXEC_OUT", OUT);
    variables.set("IEXEC_BOT_SIZE", facts.deal.size);
    variables.set("IEXEC_BOT_FIRST_INDEX", facts.deal.first);
    // Of the task, as its other name is.
    variables.set("IEXEC_BOT_TASK_INDEX", facts.task.index);
    match &facts.inputs {
        Inputs::Open => {}
        Inputs::Dataset(_) => {
            variables.set("IEXEC_DATASET_ADDRESS", dataset_name(facts));
            variables.set("IEXEC_DATASET_FILENAME", dataset_name(facts));
        }
        Inputs::Bulk(slice) => {
            variables.set("IEXEC_BULK_SLICE_SIZE", slice.len());
            for (number, (name, _)) in (1..).zip(slice) {
                variables.set(format!("IEXEC_DATASET_{number}_FILENAME"), name);
            }
        }
    }
    let files = &facts.params.input_files;
    variables.set("IEXEC_INPUT_FILES_NUMBER", files.len());
    variables.set("IEXEC_INPUT_FILES_FOLDER", IN);
    for (number, url) in (1..).zip(files) {
        variables.set(format!("IEXEC_INPUT_FILE_NAME_{number}"), input_name(url));
    }
    if let Some(secret) = &facts.app_secret {
        variables.give("IEXEC_APP_DEVELOPER_SECRET", secret);
        variables.give("IEXEC_APP_DEVELOPER_SECRET_1", secret);
    }
    for (number, secret) in &facts.requester_secrets {
        variables.give(format!("IEXEC_REQUESTER_SECRET_{number}"), secret);
    }
    variables.0
}

fn post_compute(facts: &Facts) -> Environment {
    let mut variables = Variables::new();
    variables.sign_as_enclave(facts);
    variables.set("RESULT_ENCRYPTION", facts.result_key.is_some());
    match &facts.result_key {
        Some(key) => variables.give("RESULT_ENCRYPTION_PUBLIC_KEY", key),
        None => variables.set("RESULT_ENCRYPTION_PUBLIC_KEY", ""),
    }
    variables.set("RESULT_STORAGE_CALLBACK", facts.storage.is_none());
    if let Some(Storage { provider, proxy, token }) = &facts.storage {
        let provider = match provider {
            StorageProvider::Ipfs => "ipfs",
            StorageProvider::Dropbox => "dropbox",
        };
        variables.set("RESULT_STORAGE_PROVIDER", provider);
        for (name, value) in [("RESULT_STORAGE_PROXY", proxy), ("RESULT_STORAGE_TOKEN", token)] {
            match value {
                Some(value) => variables.give(name, value),
                None => variables.set(name, ""),
            }
        }
    }
    variables.0
}

/// A dataset's file is named after its address, in lower case.
fn dataset_name(facts: &Facts) -> String {
    facts.deal.dataset.pointer.to_string().to_lowercase()
}

/// An input's file is named after its URL.
fn input_name(url: &str) -> String {
    alloy_primitives::hex::encode_prefixed(Sha256::digest(url))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, Bytes, U256};
    use chain::{AssetTerms, Deal, Task, TaskStatus};
    use primitives::{
        CategoryId, DealId, Nrlc, ResultDigest, ResultHash, Tag, TaskId, UnixSeconds,
    };
    use wire::params::Params;

    use super::*;

    fn terms() -> AssetTerms {
        AssetTerms { pointer: Address::ZERO, owner: Address::ZERO, price: Nrlc(U256::ZERO) }
    }

    /// Of a task without inputs whose result goes there.
    fn facts(storage: Option<Storage>) -> Facts {
        let deal = Deal {
            app: terms(),
            dataset: terms(),
            workerpool: terms(),
            trust: U256::ONE,
            category: CategoryId::new(0),
            tag: Tag::NONE,
            requester: Address::ZERO,
            beneficiary: Address::ZERO,
            callback: Address::ZERO,
            params: String::new(),
            start: UnixSeconds(0),
            first: U256::from(4),
            size: U256::from(3),
            worker_stake: Nrlc(U256::ZERO),
            scheduler_reward_ratio: U256::ZERO,
            sponsor: Address::ZERO,
        };
        let task = Task {
            status: TaskStatus::Active,
            deal: DealId::default(),
            index: U256::from(5),
            work_clock_seconds: 60,
            contribution_deadline: UnixSeconds(0),
            reveal_deadline: UnixSeconds(0),
            final_deadline: UnixSeconds(0),
            consensus: ResultHash(B256::ZERO),
            revealed: 0,
            winners: 0,
            contributors: Vec::new(),
            digest: ResultDigest(B256::ZERO),
            results: Bytes::new(),
            results_callback: Bytes::new(),
        };
        Facts {
            id: TaskId::default(),
            task,
            deal,
            worker: Address::ZERO,
            params: Params::default(),
            app: ("image".into(), "checksum".into()),
            enclave_key: Secret::new("key".into()),
            inputs: Inputs::Open,
            app_secret: None,
            requester_secrets: std::collections::BTreeMap::new(),
            storage,
            result_key: None,
        }
    }

    fn check(storage: Option<Storage>, expected: &[(&str, &str)]) {
        let session = compose("name".into(), &facts(storage));
        assert!(session.stage(Stage::PreCompute).is_none(), "nothing to fetch");
        let service = session.stage(Stage::PostCompute).expect("the stage");
        let about_storage = service.environment.iter().filter(|(name, _)| name.contains("STORAGE"));
        let found: Vec<(&str, &str)> =
            about_storage.map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn results_go_where_the_request_says() {
        check(None, &[("RESULT_STORAGE_CALLBACK", "true")]);
        let token = Some(Secret::new("token".to_owned()));
        let dropbox = Storage { provider: StorageProvider::Dropbox, proxy: None, token };
        check(
            Some(dropbox),
            &[
                ("RESULT_STORAGE_CALLBACK", "false"),
                ("RESULT_STORAGE_PROVIDER", "dropbox"),
                ("RESULT_STORAGE_PROXY", ""),
                ("RESULT_STORAGE_TOKEN", "token"),
            ],
        );
    }

    #[test]
    fn a_task_knows_its_place_in_the_bag() {
        let session = compose("name".into(), &facts(None));
        for (name, expected) in [
            ("IEXEC_TASK_INDEX", "5"),
            ("IEXEC_BOT_TASK_INDEX", "5"),
            ("IEXEC_BOT_FIRST_INDEX", "4"),
            ("IEXEC_BOT_SIZE", "3"),
            ("IEXEC_INPUT_FILES_NUMBER", "0"),
        ] {
            let value = session.variable(Stage::App, name).expect("is set");
            assert_eq!(value.expose(), expected, "{name}");
        }
        assert!(session.variable(Stage::App, "IEXEC_DATASET_FILENAME").is_none());
    }
}
