//! What is left behind once everything has ended.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::apart::Apart;

/// Files under the services' directories that nothing will ever need again.
pub(crate) fn orphans(market: &Apart) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in market.names() {
        let dir = market.data_dir(&name);
        for path in files(&dir)? {
            let inside = path.strip_prefix(&dir)?.display().to_string();
            if !belongs(&name, &inside) {
                found.push(format!("{name} left {inside}"));
            }
        }
        for path in files(&market.temp_dir(&name))? {
            found.push(format!("{name} left {}", path.display()));
        }
    }
    Ok(found)
}

/// What a service keeps for its next start, or for those who ask it.
fn belongs(service: &str, path: &str) -> bool {
    let common = ["lock", "version"].contains(&path) || path.starts_with("store/");
    let own = match service {
        "chain" => path.starts_with("chain/"),
        "gateway" => path.starts_with("blobs/") && !path.contains("/incoming/"),
        // Uploads that broke off are kept for a day, to go on where they were.
        "scheduler" => path.starts_with("uploads/") || path == "uploads.secret",
        "vault" => path == "storage.key",
        // Programs, as fetched and as compiled.
        _ => path.starts_with("work/programs/") || path.starts_with("sandbox/programs/"),
    };
    common || own
}

/// All files in a directory and below; none if it is not there.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}
