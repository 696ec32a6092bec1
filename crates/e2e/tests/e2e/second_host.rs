//! A worker on a second host, as docs/operate.md tells: its very lines are run, in two network namespaces with a cable
//! between them. Needs root, `ip`, and a kernel that lets us.

use std::path::Path;
use std::process::{Command as Plain, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use testkit::eventually;
use tokio::process::{Child, Command};

/// Set where namespaces can be made, so that they must not pass unnoticed.
const REQUIRED: &str = "GRISTMILL_REQUIRE_NETNS";
const MANUAL: &str = include_str!("../../../../docs/operate.md");

/// The lines of the manual under that name.
fn lines(name: &str) -> Result<&'static str> {
    let (_, rest) = MANUAL
        .split_once(&format!("```sh {name}\n"))
        .with_context(|| format!("docs/operate.md has no lines for {name}"))?;
    Ok(rest.split_once("\n```").context("the lines end")?.0)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let done = Plain::new("ip").args(arguments).output().context("there is no ip")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "ip {}: {said}", arguments.join(" "));
    Ok(())
}

/// A host: a namespace, a directory, and whatever runs there. All of it ends with this.
struct Host {
    name: String,
    dir: TempDir,
}

impl Host {
    fn new(part: &str) -> Result<Self> {
        let name = format!("gm{}-{part}", std::process::id());
        ip(&["netns", "add", &name])?;
        let host = Self { name, dir: tempfile::tempdir()? };
        ip(&["-n", &host.name, "link", "set", "lo", "up"])?;
        let bin = host.dir.path().join("bin");
        std::fs::create_dir(&bin)?;
        let binary = env!("CARGO_BIN_EXE_gristmill-under-test");
        std::os::unix::fs::symlink(binary, bin.join("gristmill"))?;
        let examples =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize()?;
        std::os::unix::fs::symlink(examples, host.dir.path().join("examples"))?;
        Ok(host)
    }

    /// Plugs in its end of the cable.
    fn plug(&self, interface: &str, address: &str) -> Result<()> {
        ip(&["link", "set", interface, "netns", &self.name])?;
        ip(&["-n", &self.name, "address", "add", address, "dev", interface])?;
        ip(&["-n", &self.name, "link", "set", interface, "up"])
    }

    /// Runs lines in a shell of this host, in its directory.
    fn shell(&self, lines: &str, set: &[(String, String)]) -> Result<Command> {
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.dir.path().join("bin");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, "bash", "-c", lines])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("GRISTMILL_HOME", self.dir.path().join("home"))
            .envs(set.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// The same, and leaves it running; what it says goes to a file.
    fn begin(&self, lines: &str, set: &[(String, String)]) -> Result<Child> {
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        let mut command = self.shell(&format!("{lines}\nwait"), set)?;
        Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Only what runs in this namespace, which is ours.
        if let Ok(found) = Plain::new("ip").args(["netns", "pids", &self.name]).output() {
            for pid in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                let _ = Plain::new("kill").args(["-9", pid]).status();
            }
        }
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Two hosts with a cable between them: 10.0.0.1 and 10.0.0.2. Nothing of the machine's own network is touched.
fn hosts() -> Result<(Host, Host)> {
    let (first, second) = (Host::new("a")?, Host::new("b")?);
    let (left, right) =
        (format!("gma{}", std::process::id()), format!("gmb{}", std::process::id()));
    ip(&["link", "add", &left, "type", "veth", "peer", "name", &right])?;
    first.plug(&left, "10.0.0.1/24")?;
    second.plug(&right, "10.0.0.2/24")?;
    Ok((first, second))
}

#[tokio::test]
async fn an_operator_follows_the_manual_to_a_worker_on_a_second_host() -> Result<()> {
    let (first, second) = match hosts() {
        Ok(hosts) => hosts,
        Err(error) if std::env::var_os(REQUIRED).is_some() => return Err(error),
        Err(error) => {
            eprintln!(
                "NOT TESTED: a worker on a second host, since there are no namespaces: {error:#}"
            );
            return Ok(());
        }
    };
    let _market = first.begin(lines("first-host")?, &[])?;
    let told = eventually("the first host's last line", async || {
        let told = std::fs::read_to_string(first.dir.path().join("second-host.txt"));
        Ok(told.ok().filter(|line| line.ends_with('\n')))
    })
    .await
    .with_context(|| first.log())?;
    let set: Vec<(String, String)> = told
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    ensure!(
        set.len() == 2 && set.iter().all(|(_, value)| value.len() == 42),
        "{told}{}",
        first.log()
    );

    let _worker = second.begin(lines("second-host")?, &set)?;
    let counted = eventually("a job to be done by the second host", async || {
        let ran = first.shell(lines("anywhere")?, &[])?.output().await?;
        Ok(ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned()))
    })
    .await
    .with_context(|| format!("{}\n{}", first.log(), second.log()))?;
    if !counted.contains("the") {
        bail!("those are no words of Alice: {counted}");
    }
    Ok(())
}
