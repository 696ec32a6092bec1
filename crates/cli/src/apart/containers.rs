//! What runs a worker's containers, by its settings.

use sandbox::Containers;

use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// What the settings ask for.
///
/// # Errors
/// GM-5015 it makes no sense.
pub(super) fn choice(settings: &Settings) -> Result<Containers, Failure> {
    let choice: String = settings.need("worker.containers")?;
    match &*choice {
        "auto" => Ok(Containers::Auto),
        "oci" => Ok(Containers::Oci),
        "docker" => Ok(Containers::Daemon(settings.get("worker.docker_socket")?)),
        "off" => Ok(Containers::Off),
        _ => {
            let wrong = format!("worker.containers = \"{choice}\" makes no sense");
            Err(Failure::new("GM-5015", Exit::Usage, wrong).fix("auto, oci, docker or off"))
        }
    }
}
