//! What only containers have: images, isolation, and processes that must not stay behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::{B256, hex};
use expect_test::expect;
use primitives::UnixSeconds;
use sandbox::gpu::{Cdi, Gpu, discover};
use sandbox::{
    Config, Container, Daemon, Ear, Job, Kind, Limits, Listener, LocalImages, Sandbox, Stream,
    find_runtime,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::daemon::{DaemonNet, by_daemon, daemon_socket, is_rootless};
use crate::images::{
    CRUN_PROGRAM, Containers, Image, by_crun, containers, layer, prober, prober_image, sha256,
};

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

fn opened(config: &Config) -> Arc<Container> {
    Arc::new(Container::open(find_runtime().unwrap(), config).unwrap().unwrap())
}

/// Containers of that configuration.
fn with(config: &Config) -> Containers {
    let sandbox = Sandbox::with_runtime(config, opened(config)).unwrap();
    Containers { sandbox, dir: tempfile::tempdir().unwrap() }
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let kept = expect![[r#"
        /etc/x kept
        /iexec_in/x kept
        /x kept
        /proc/sys/kernel/hostname kept
        network kept
        CapEff: 0000000000000000
        CapBnd: 0000000000000000
        NoNewPrivs: 1
        Seccomp: 2
        root true
        processes 1
    "#]];
    for containers in [containers(), by_crun()].into_iter().flatten() {
        let escape = job(containers, prober_image(), &["escape", &host]);
        kept.assert_eq(&run(containers, escape).await);
    }
}

/// The user that the program is, and which ids of the machine are behind its own: inside, outside, how many.
async fn who_runs(containers: &Containers) -> (u32, [u32; 3]) {
    let said = run(containers, job(containers, prober_image(), &["whoami"])).await;
    let numbers: Vec<u32> = said.split_whitespace().map(|it| it.parse().unwrap()).collect();
    let [user, inside, outside, size] = numbers[..] else { panic!("{said}") };
    (user, [inside, outside, size])
}

#[tokio::test]
async fn who_is_root_in_a_container_is_nobody_outside() {
    for containers in [containers(), by_crun()].into_iter().flatten() {
        let (user, [inside, outside, size]) = who_runs(containers).await;
        assert_eq!((user, inside, size), (0, 0, 1 << 16));
        assert!((0x7000_0000..0x8000_0000).contains(&outside), "{outside}");
        let (_, [_, next, _]) = who_runs(containers).await;
        assert_ne!(outside, next, "no two have the same");
        // Nobody's, and as it stands not even its owner may read it.
        let secret = job(containers, prober_image(), &["hide"]);
        let archive = secret.archive.clone();
        assert_eq!(run(containers, secret).await, "");
        let bounds = sandbox::archive::Bounds::default();
        let found = sandbox::archive::read_file(&archive, "result", 100, &bounds).unwrap();
        assert_eq!(found.unwrap(), b"hidden");
    }
}

#[tokio::test]
async fn where_no_user_namespace_can_be_had_containers_have_an_id_of_their_own() {
    if containers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Nobody but this user passes through there.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let config = Config { roots: dir.path().join("roots"), ..Config::new(dir.path(), 2) };
    let here = with(&config);
    let (user, [inside, outside, _]) = who_runs(&here).await;
    assert!((0x7000_0000..0x8000_0000).contains(&user), "{user}");
    assert_eq!((inside, outside), (0, 0));
    assert_eq!(run(&here, job(&here, prober_image(), &["args", "well"])).await, "well");
}

#[tokio::test]
async fn nothing_stays_mounted_where_images_were_shown() {
    if containers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), 2);
    let here = with(&config);
    assert_eq!(run(&here, job(&here, prober_image(), &["args", "well"])).await, "well");
    let place = dir.path().canonicalize().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.to_str().unwrap()), "{mounts}");
}

/// A network namespace, gone with the test.
struct Net {
    name: String,
}

impl Net {
    fn new() -> Option<Self> {
        let net = Self { name: format!("gm-test-{}", std::process::id()) };
        let made = net.ip(&["netns", "add", &net.name])
            && net.ip(&["-n", &net.name, "link", "set", "lo", "up"]);
        let required = std::env::var_os("GRISTMILL_REQUIRE_NETNS").is_some();
        assert!(made || !required, "GRISTMILL_REQUIRE_NETNS is set, and none can be made");
        if !made {
            eprintln!(
                "NOT TESTED: containers with a network, since no network namespace can be made"
            );
        }
        made.then_some(net)
    }

    fn ip(&self, args: &[&str]) -> bool {
        Command::new("ip").args(args).status().is_ok_and(|status| status.success())
    }

    /// Listens in it, and says where.
    fn listen(&self, prober: &Path) -> (Child, String) {
        let mut listening = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(prober)
            .arg("listen")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(listening.stdout.take().unwrap()).read_line(&mut address).unwrap();
        (listening, address.trim().to_owned())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.ip(&["netns", "del", &self.name]);
    }
}

#[tokio::test]
async fn a_container_reaches_the_network_that_it_is_given_and_no_other() {
    if containers().is_none() {
        return;
    }
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("listener");
    fs::write(&program, prober()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut listening, there) = net.listen(&program);
    let runtimes = [find_runtime().ok(), by_crun().map(|_| PathBuf::from(CRUN_PROGRAM))];
    for program in runtimes.into_iter().flatten() {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let network = Some(net.name.parse().unwrap());
        let config = Config { network, ..Config::new(place.path(), 2) };
        let runtime = Container::open(program, &config).unwrap().unwrap();
        let sandbox = Sandbox::with_runtime(&config, Arc::new(runtime)).unwrap();
        check_network(&Containers { sandbox, dir: tempfile::tempdir().unwrap() }, &there).await;
    }
    let config = Config { network: Some(net.name.parse().unwrap()), ..Config::new(dir.path(), 2) };
    let here = with(&config);
    listening.kill().unwrap();
    listening.wait().unwrap();
    drop(net);
    let gone = reach(&here, true, &there).await;
    assert!(gone.contains("there is no namespace"), "{gone}");
}

/// Whether a container of that grant reaches the address.
async fn reach(here: &Containers, network: bool, address: &str) -> String {
    let mut job = job(here, prober_image(), &["reach", address]);
    job.limits.network = network;
    run(here, job).await
}

/// What holds for every runtime with a network in which somebody listens there.
async fn check_network(here: &Containers, there: &str) {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = outside.local_addr().unwrap().to_string();
    assert_eq!(reach(here, true, there).await, "reached");
    assert_eq!(reach(here, true, &host).await, "kept");
    assert_eq!(reach(here, false, there).await, "kept");
    assert_eq!(reach(here, false, &host).await, "kept");
}

#[tokio::test]
async fn a_container_by_a_daemon_reaches_the_network_that_it_is_given_and_no_other() {
    let Some(net) = DaemonNet::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let network = Some(DaemonNet::NAME.parse().unwrap());
    let config = Config { network, ..Config::new(dir.path(), 2) };
    let runtime = Daemon::open(daemon_socket().unwrap(), &config).unwrap().unwrap();
    let sandbox = Sandbox::with_runtime(&config, Arc::new(runtime)).unwrap();
    let here = Containers { sandbox, dir: tempfile::tempdir().unwrap() };
    // The daemon makes its side of the network for the first who has it.
    let first = reach(&here, true, "127.0.0.1:9").await;
    let Some(listener) = net.listen(&first) else { return };
    let there = listener.local_addr().unwrap().to_string();
    check_network(&here, &there).await;
    net.gone().await;
    let gone = reach(&here, true, &there).await;
    assert!(gone.starts_with("GM-4191"), "{gone}");
}

#[tokio::test]
async fn what_is_neither_file_nor_directory_is_no_result() {
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        let said = run(containers, job(containers, prober_image(), &["socket"])).await;
        assert_eq!(said, "GM-4124 /iexec_out/socket is neither a file nor a directory");
    }
}

#[tokio::test]
async fn a_worker_without_a_network_for_containers_gives_none() {
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        let mut job = job(containers, prober_image(), &["args"]);
        job.limits.network = true;
        let said = run(containers, job).await;
        assert!(said.contains("network"), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_in_a_container_has_a_name() {
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        let mut brim = job(containers, prober_image(), &["brim"]);
        brim.limits.output_bytes = 2 << 20;
        let told = "GM-7021 the program failed, and says that a disk is full: /tmp and /dev/shm have 2097152 bytes each";
        assert_eq!(run(containers, brim).await, told);
    }
}

#[tokio::test]
async fn what_is_too_deep_to_be_named_is_no_result_and_is_gone_with_its_run() {
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        // Deeper than a path is long, and than there are open files for.
        let mut deep = job(containers, prober_image(), &["deep", "3000"]);
        deep.limits.output_entries = 5_000;
        let said = run(containers, deep).await;
        assert!(said.starts_with("GM-4125 the file name '…/directory'"), "{said}");
        let runs = containers.dir.path().join("sandbox/runs");
        let left = || fs::read_dir(&runs).unwrap().flatten().map(|it| it.file_name());
        // Others run meanwhile; nothing stays half removed.
        while left().any(|name| name.to_string_lossy().starts_with(".gone-")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The prober's image, to be run by that user.
fn image_of(user: &str) -> Image {
    let passwd = b"root:x:0:0::/:/bin/sh\nnode:x:1000:1001::/:/bin/sh\n";
    let group = b"root:x:0:\nvideo:x:44:node\nstaff:x:50:\n";
    let mut image = Image::of(vec![
        layer(&[("prober", 0o700, prober())]),
        layer(&[("etc/passwd", 0o600, passwd), ("etc/group", 0o600, group)]),
    ]);
    image.start = json!({ "Entrypoint": ["/prober"], "User": user });
    image
}

#[tokio::test]
async fn a_program_runs_as_its_images_user_and_its_output_is_the_workers() {
    let check = async |containers: &Containers, user: &str, expected: Option<&str>| {
        let archive = stored(containers, &image_of(user).saved());
        let job = job(containers, &archive, &["user"]);
        let result = job.archive.clone();
        let said = run(containers, job).await;
        match expected {
            Some(expected) => assert_eq!(said, expected, "{user}"),
            None if is_rootless() => assert!(said.starts_with("1000 1001 "), "{said}"),
            // Nobody's, on a machine where 1000 is somebody.
            None => assert!(!said.starts_with("0 ") && !said.starts_with("1000 "), "{said}"),
        }
        let bounds = sandbox::archive::Bounds::default();
        let found = sandbox::archive::read_file(&result, "own/file", 100, &bounds).unwrap();
        assert_eq!(found.unwrap(), b"mine", "{user}");
    };
    let users = [
        ("", "0 0 []"),
        ("node", "1000 1001 [44]"),
        ("1000", "1000 1001 [44]"),
        ("node:staff", "1000 50 []"),
        ("2000:3000", "2000 3000 []"),
    ];
    for (user, expected) in users {
        for containers in [containers(), by_crun()].into_iter().flatten() {
            check(containers, user, Some(expected)).await;
        }
    }
    if let Some(containers) = by_daemon() {
        check(containers, "node", None).await;
    }
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        let archive = stored(containers, &image_of("nobody").saved());
        let said = run(containers, job(containers, &archive, &["user"])).await;
        let told = "GM-4161 the image cannot be used: its USER 'nobody' is not in its /etc/passwd";
        assert_eq!(said, told);
    }
}

#[tokio::test]
async fn an_image_that_nobody_can_start_is_the_images_fault() {
    let start = |start: serde_json::Value| {
        let mut image = Image::prober();
        image.start = start;
        image.saved()
    };
    let unusable = "GM-4161 the image cannot be used: ";
    let long = "x".repeat(1 << 20);
    let cases = [
        (json!({ "Entrypoint": ["/prober", long] }), "its entry point, command and environment"),
        (json!({ "Entrypoint": ["/prober"], "Env": vec!["A=1"; 2_000] }), "its entry point"),
        (json!({ "Entrypoint": ["/prober"], "Env": ["A=\0"] }), "'A=\\u{0}' has a zero byte"),
        (json!({ "Entrypoint": ["/prober"], "Env": ["PATH"] }), "its environment has 'PATH'"),
        (json!({ "Entrypoint": ["/prober"], "User": "a\0" }), "'a\\u{0}' has a zero byte"),
    ];
    for (said, told) in cases {
        check_refused(&start(said), &format!("{unusable}{told}")).await;
    }
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        for argument in ["\0", &*"x".repeat(100_000)] {
            let said = run(containers, job(containers, prober_image(), &["args", argument])).await;
            assert!(said.starts_with("GM-4130"), "{said}");
        }
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
        "processes 1",
        if is_rootless() { "root true" } else { "root false" },
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
const GPU: &str = r#"
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
"#;
/// And with files that programs need for it.
const DRIVER: &str = "
containerEdits:
  mounts:
  - hostPath: DIR/driver
    containerPath: /opt/acme/driver
    options: [ro, bind]
";

fn gpus(dir: &Path, spec: &str) -> Vec<Gpu> {
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
    let gpus = gpus(&dir.path().join("cdi"), &format!("{GPU}{DRIVER}"));
    let config = Config { gpus, ..Config::new(dir.path(), 2) };
    let here = with(&config);
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
async fn who_is_nobody_outside_uses_a_gpu_that_is_everybodys() {
    if containers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let gpus = gpus(&dir.path().join("cdi"), GPU);
    let here = with(&Config { gpus, ..Config::new(dir.path(), 2) });
    let with_gpu = |args: &[&str]| Job { gpus: 1, ..job(&here, prober_image(), args) };
    assert_eq!(run(&here, with_gpu(&["open", "/dev/acme0"])).await, "opened");
    let who = run(&here, with_gpu(&["whoami"])).await;
    assert!(who.starts_with("0 ") && who.trim_end().ends_with("65536"), "{who}");
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
    let open = || opened(&config);
    let here = with(&config);
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

#[tokio::test]
async fn what_an_earlier_process_left_with_a_daemon_is_ended() {
    if by_daemon().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), 2);
    let open = || Arc::new(Daemon::open(daemon_socket().unwrap(), &config).unwrap().unwrap());
    let sandbox = Sandbox::with_runtime(&config, open()).unwrap();
    let here = Containers { sandbox: sandbox.clone(), dir: tempfile::tempdir().unwrap() };
    let said = Said::default();
    let ear = Ear::of(Arc::new(said.clone()));
    let listening = job(&here, prober_image(), &["listen"]);
    let running =
        tokio::spawn(
            async move { sandbox.run_aloud(listening, ear, CancellationToken::new()).await },
        );
    // It runs when it has said where it listens.
    while !said.0.load(Ordering::Relaxed) {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As the next process would.
    open();
    assert!(running.await.unwrap().is_err());
}

/// Whether a program said anything.
#[derive(Clone, Default)]
struct Said(Arc<AtomicBool>);

impl Listener for Said {
    fn heard(&self, _: Stream, _: &[u8]) {
        self.0.store(true, Ordering::Relaxed);
    }
}
