//! What commands that put numbers on a page share: the machine, the day, a seed, and the page's tables.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

const PAGE: &str = "docs/reliability.md";

/// Cores, processor and memory.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    format!("{cores} cores of {processor}, {} GiB", kib.div_ceil(1 << 20))
}

/// The day, as 2026-01-31.
pub(crate) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    // Civil from days, for dates after 1970: eras of 400 years that begin in March.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{date:02}")
}

/// A seed that nobody chose, short enough to be typed.
pub(crate) fn any_seed() -> u64 {
    let mut random = [0_u8; 4];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_or(1, |()| u64::from(u32::from_le_bytes(random)))
}

/// Runs it to its end, or to Ctrl-C or SIGTERM: then everything it started ends with it.
pub(crate) fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = asked.recv() => bail!("asked to end"),
        }
    })
}

/// Puts a row at the end of a table of docs/reliability.md: before its mark `<!-- /name -->`.
pub(crate) fn add_row(root: &Path, name: &str, row: &str) -> Result<()> {
    let mark = format!("<!-- /{name} -->");
    let page = fs::read_to_string(root.join(PAGE))?;
    let (before, after) =
        page.split_once(&mark).with_context(|| format!("{PAGE} has no {mark}"))?;
    fs::write(root.join(PAGE), format!("{before}{row}\n{mark}{after}"))?;
    Ok(())
}

/// Replaces a table of docs/reliability.md: what is between its marks `<!-- name -->` and `<!-- /name -->`.
pub(crate) fn replace_table(root: &Path, name: &str, table: &str) -> Result<()> {
    let start = format!("<!-- {name} -->\n");
    let end = format!("<!-- /{name} -->");
    let page = fs::read_to_string(root.join(PAGE))?;
    let lost = || format!("{PAGE} has no {start}");
    let (before, rest) = page.split_once(&start).with_context(lost)?;
    let (_, after) = rest.split_once(&end).with_context(lost)?;
    fs::write(root.join(PAGE), format!("{before}{start}{table}{end}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_form_of_a_day() {
        let today = today();
        let parts: Vec<u64> = today.split('-').map(|part| part.parse().unwrap()).collect();
        assert!(parts[0] >= 2025 && (1..=12).contains(&parts[1]) && (1..=31).contains(&parts[2]));
        assert_eq!(today.len(), 10);
    }
}
