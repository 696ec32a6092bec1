//! What only containers have: images, isolation, and processes that must not stay behind.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, hex};
use expect_test::expect;
use primitives::UnixSeconds;
use sandbox::gpu::{Cdi, Gpu, discover};
use sandbox::{Config, Container, Job, Kind, Limits, LocalImages, Sandbox, find_runtime};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::daemon::{by_daemon, daemon_socket};
use crate::images::{Containers, Image, containers, layer, prober, prober_image, sha256};

fn job(containers: &Containers, image: &Path, args: &[&str]) -> Job {
    let dir = tempfile::tempdir_in(containers.dir.path()).unwrap().keep();
    fs::create_dir(dir.join("in")).unwrap();
    Job {
        kind: Kind::Container,
        program: image.to_owned(),
        pin: None,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![],
        inputs: dir.join("in"),
        archive: dir.join("result.zip"),
        seed: B256::ZERO,
        clock: UnixSeconds(0),
        limits: Limits { processes: 32, memory_bytes: 128 << 20, ..Limits::for_timeref(300) },
        gpus: 0,
    }
}

fn stored(containers: &Containers, archive: &[u8]) -> PathBuf {
    let (_, path) = tempfile::NamedTempFile::new_in(containers.dir.path()).unwrap().keep().unwrap();
    fs::write(&path, archive).unwrap();
    path
}

async fn run(containers: &Containers, job: Job) -> String {
    match containers.sandbox.run(job, CancellationToken::new()).await {
        Ok(outcome) => String::from_utf8_lossy(&outcome.stdout).into_owned(),
        Err(failure) => {
            eprintln!("{}", failure.stderr_tail);
            format!("{} {failure}", failure.code())
        }
    }
}

#[tokio::test]
async fn a_container_reaches_nothing_but_its_own() {
    let Some(containers) = containers() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let escape = job(containers, prober_image(), &["escape", &host]);
    expect![[r#"
        /etc/x kept
        /iexec_in/x kept
        /x kept
        /proc/sys/kernel/hostname kept
        network kept
        CapEff: 0000000000000000
        CapBnd: 0000000000000000
        NoNewPrivs: 1
        Seccomp: 2
        root false
        processes 1
    "#]]
    .assert_eq(&run(containers, escape).await);
}

#[tokio::test]
async fn a_full_disk_in_a_container_has_a_name() {
    for containers in [containers(), by_daemon()].into_iter().flatten() {
        let mut brim = job(containers, prober_image(), &["brim"]);
        brim.limits.output_bytes = 2 << 20;
        let told = "GM-7021 the program failed, and says that a disk is full: /tmp and /dev/shm have 2097152 bytes each";
        assert_eq!(run(containers, brim).await, told);
    }
}

#[tokio::test]
async fn a_container_by_a_daemon_reaches_nothing_but_its_own() {
    let Some(containers) = by_daemon() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let said = run(containers, job(containers, prober_image(), &["escape", &host])).await;
    for kept in [
        "/etc/x kept",
        "/iexec_in/x kept",
        "/x kept",
        "/proc/sys/kernel/hostname kept",
        "network kept",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "root false",
        "processes 1",
    ] {
        assert!(said.lines().any(|line| line == kept), "{kept}: {said}");
    }
}

#[tokio::test]
async fn an_image_that_the_daemon_has_is_saved_by_its_name() {
    let Some(containers) = by_daemon() else { return };
    // Running it leaves it with the daemon, flat and without anything to start.
    assert_eq!(run(containers, job(containers, prober_image(), &["args", "one"])).await, "one");
    let id = hex::encode(sha256(&Image::prober().config()));
    let name = format!("gristmill.local/image-{id}:latest");
    let local = LocalImages::of(daemon_socket().unwrap()).unwrap();
    let into = containers.dir.path().join("saved.tar");
    assert!(!local.save("gristmill.local/none:latest", &into, u64::MAX).await.unwrap());
    let large = local.save(&name, &into, 1_000).await.unwrap_err();
    assert_eq!(large.code(), "GM-4155");
    assert!(local.save(&name, &into, u64::MAX).await.unwrap());
    let saved = job(containers, &into, &["/prober", "args", "two"]);
    assert_eq!(run(containers, saved).await, "two");
}

/// A GPU as a vendor's tool describes it, played by devices that every machine has.
fn gpus(dir: &Path) -> Vec<Gpu> {
    let spec = r#"
cdiVersion: 0.6.0
kind: acme.example/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/acme0
      hostPath: /dev/full
      permissions: rw
    env: [ACME_VISIBLE=0]
containerEdits:
  mounts:
  - hostPath: DIR/driver
    containerPath: /opt/acme/driver
    options: [ro, bind]
"#;
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("driver"), "version 1").unwrap();
    fs::write(dir.join("acme.yaml"), spec.replace("DIR", &dir.display().to_string())).unwrap();
    let gpus = discover(&Cdi { dirs: vec![dir.to_owned()], allow_hooks: false });
    assert_eq!(gpus.len(), 1);
    gpus
}

#[tokio::test]
async fn a_container_is_given_the_gpus_it_asks_for_and_no_others() {
    if containers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let gpus = gpus(&dir.path().join("cdi"));
    let config = Config { gpus, ..Config::new(dir.path(), 2) };
    let runtime = Arc::new(Container::new(find_runtime().unwrap(), &config).unwrap());
    let sandbox = Sandbox::with_runtime(&config, runtime).unwrap();
    let here = Containers { sandbox, dir: tempfile::tempdir().unwrap() };
    let with = |gpus: u32, args: &[&str]| Job { gpus, ..job(&here, prober_image(), args) };
    assert_eq!(run(&here, with(1, &["open", "/dev/acme0"])).await, "opened");
    assert_eq!(run(&here, with(1, &["show", "/opt/acme/driver"])).await, "version 1");
    assert_eq!(run(&here, with(1, &["env", "ACME_VISIBLE"])).await, "0");
    let absent = run(&here, with(0, &["open", "/dev/acme0"])).await;
    assert_eq!(absent, "No such file or directory (os error 2)");
    let many = run(&here, with(2, &["args"])).await;
    assert_eq!(many, "GM-7020 the task wants 2 GPUs, and this worker has 1");
}

#[tokio::test]
async fn an_image_is_what_it_is_pinned_to() {
    let Some(containers) = containers() else { return };
    let image = Image::prober();
    let (layout, manifest) = image.layout();
    let (saved, config) = (image.saved(), sha256(&image.config()));
    let cases = [
        (&layout, manifest, true),
        (&layout, config, true),
        (&layout, sha256(&layout), true),
        (&saved, config, true),
        (&saved, sha256(&saved), true),
        (&saved, manifest, false),
        (&layout, B256::repeat_byte(1), false),
    ];
    for (archive, pin, fits) in cases {
        let archive = stored(containers, archive);
        let mut pinned = job(containers, &archive, &["args", "well"]);
        pinned.pin = Some(pin);
        let said = run(containers, pinned).await;
        if fits {
            assert_eq!(said, "well");
        } else {
            assert!(said.starts_with("GM-4162"), "{said}");
        }
    }
}

#[tokio::test]
async fn layers_and_what_to_start_come_from_the_image() {
    let Some(containers) = containers() else { return };
    let mut image = Image::of(vec![
        layer(&[
            ("bin/prober", 0o755, prober()),
            ("data/one", 0o600, b"1"),
            ("data/two", 0o600, b"2"),
        ]),
        layer(&[("data/one", 0o600, b"changed"), ("data/.wh.two", 0o600, b"")]),
    ]);
    image.start = json!({ "Entrypoint": ["prober", "show"], "Cmd": ["one"], "WorkingDir": "/data",
        "Env": ["PATH=/bin"] });
    let archive = stored(containers, &image.saved());
    assert_eq!(run(containers, job(containers, &archive, &[])).await, "changed");
    let hidden = run(containers, job(containers, &archive, &["two"])).await;
    assert_eq!(hidden, "GM-4116 the program exited with code 40");
}

async fn check_refused(archive: &[u8], want: &str) {
    let Some(containers) = containers() else { return };
    let archive = stored(containers, archive);
    let said = run(containers, job(containers, &archive, &["args"])).await;
    assert!(said.starts_with(want), "{said}");
}

#[tokio::test]
async fn what_is_no_image_is_told_so() {
    let unusable = "GM-4161 the image cannot be used: ";
    let told = |what: &str| format!("{unusable}{what}");
    check_refused(b"", &told("its archive has neither index.json nor manifest.json")).await;
    check_refused(b"no tar at all", &told("it is not a tar")).await;
    let mut foreign = Image::prober();
    foreign.architecture = "s390x";
    check_refused(&foreign.saved(), &told("it is made for linux/s390x")).await;
    // From here on the words are the runtime's.
    let mut empty = Image::of(vec![]);
    empty.start = json!({});
    check_refused(&empty.saved(), "GM-4163 the image's program cannot be started").await;
    let absent = Image::of(vec![layer(&[("readme", 0o644, b"nothing to start")])]);
    check_refused(&absent.saved(), "GM-4163 the image's program cannot be started").await;
}

#[tokio::test]
async fn a_layer_that_is_not_the_one_the_image_names_is_not_unpacked() {
    let named = Image::of(vec![layer(&[("prober", 0o755, b"named")])]);
    let other = Image::of(vec![layer(&[("prober", 0o755, b"other")])]);
    let swapped = swap_config(&other.saved(), &named.config());
    let layer = sha256(&named.layers[0]);
    let told = format!("GM-4161 the image cannot be used: layer {layer} has digest");
    check_refused(&swapped, &told).await;
}

/// The archive with another configuration in the place of its own.
fn swap_config(archive: &[u8], config: &[u8]) -> Vec<u8> {
    let mut from = tar::Archive::new(archive);
    let mut to = tar::Builder::new(Vec::new());
    for entry in from.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut header = entry.header().clone();
        if path.extension().is_some_and(|it| it == "json") && path != Path::new("manifest.json") {
            header.set_size(config.len() as u64);
            to.append_data(&mut header, path, config).unwrap();
        } else {
            to.append_data(&mut header, path, &mut entry).unwrap();
        }
    }
    to.into_inner().unwrap()
}

#[tokio::test]
async fn what_an_earlier_process_left_running_is_ended() {
    if containers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), 2);
    let open = || Arc::new(Container::new(find_runtime().unwrap(), &config).unwrap());
    let sandbox = Sandbox::with_runtime(&config, open()).unwrap();
    let here = Containers { sandbox, dir: tempfile::tempdir().unwrap() };
    let sleeping = job(&here, prober_image(), &["sleep"]);
    let sandbox = here.sandbox.clone();
    let running =
        tokio::spawn(async move { sandbox.run(sleeping, CancellationToken::new()).await });
    let state = dir.path().join("containers/state");
    while fs::read_dir(&state).unwrap().count() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As the next process would.
    while !running.is_finished() {
        open();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(running.await.unwrap().is_err());
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}
