//! A program for containers in tests: its first argument says what it does. Built with a static C library, so that an
//! image needs nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const DECLARED: &str = r#"{"deterministic-output-path":"/iexec_out/stdout.txt"}"#;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let verb = args.get(1).cloned().unwrap_or_default();
    match probe(&verb, args.get(2..).unwrap_or_default()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{verb}: {error}");
            ExitCode::from(40)
        }
    }
}

fn declare(what: &str) -> io::Result<u8> {
    fs::write("/iexec_out/computed.json", what)?;
    Ok(0)
}

fn probe(verb: &str, rest: &[String]) -> io::Result<u8> {
    let first = rest.first().map(String::as_str).unwrap_or_default();
    match verb {
        "args" => print!("{}", rest.join("|")),
        "env" => print!("{}", std::env::var(first).unwrap_or_default()),
        "inputs" => {
            for name in rest {
                print!("{}", fs::read_to_string(format!("/iexec_in/{name}"))?);
            }
        }
        "exit" => {
            eprint!("on purpose");
            return Ok(first.parse().unwrap_or(1));
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
        "allocate" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&all);
            }
        }
        "flood" => loop {
            let page = [b'x'; 4_096];
            if first == "stderr" {
                io::stderr().write_all(&page)?;
            } else {
                io::stdout().write_all(&page)?;
            }
        },
        "fill" => {
            let mut file = File::create("/iexec_out/large")?;
            loop {
                file.write_all(&[b'x'; 4_096])?;
            }
        }
        "litter" => {
            for n in 0..25 {
                fs::create_dir(format!("/iexec_out/{n}"))?;
            }
        }
        // Each small, all together too much; and all at once, so that only the end shows it.
        "many" => {
            for n in 0..18 {
                fs::write(format!("/iexec_out/{n}"), [b'x'; 65_536])?;
            }
        }
        // Until somebody stops it: names cost a disk more than bytes do.
        "crumbs" => {
            for n in 0.. {
                File::create(format!("/iexec_out/{n}"))?;
            }
        }
        // Paths longer than one call takes.
        "deep" => {
            std::env::set_current_dir("/iexec_out")?;
            for _ in 0..first.parse().unwrap_or(0) {
                fs::create_dir("directory")?;
                std::env::set_current_dir("directory")?;
            }
        }
        "link" => symlink("/etc/passwd", "/iexec_out/link")?,
        "link-declaration" => {
            symlink("/iexec_in/a", "/iexec_out/computed.json")?;
            return Ok(0);
        }
        "through-link" => {
            symlink("/iexec_in", "/iexec_out/link")?;
            return declare(r#"{"deterministic-output-path":"/iexec_out/link/a"}"#);
        }
        "climb" => return declare(&format!(r#"{{"deterministic-output-path":"{first}"}}"#)),
        "socket" => {
            UnixListener::bind("/iexec_out/socket")?;
            return declare(r#"{"deterministic-output-path":"/iexec_out/socket"}"#);
        }
        "nothing" => return Ok(0),
        "empty" => {
            File::create("/iexec_out/empty")?;
            return declare(r#"{"deterministic-output-path":"/iexec_out/empty"}"#);
        }
        "call" => return declare(r#"{"callback-data":"0x616263"}"#),
        // What a program must not be able to do, one line each.
        "escape" => {
            for path in ["/etc/x", "/iexec_in/x", "/x", "/proc/sys/kernel/hostname"] {
                println!("{path} {}", if File::create(path).is_ok() { "written" } else { "kept" });
            }
            println!("network {}", reached(first));
            let mut status = String::new();
            File::open("/proc/self/status")?.read_to_string(&mut status)?;
            for name in ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                println!("{name}{}", line.unwrap_or_default().replace('\t', " "));
            }
            // To itself.
            let root = status.lines().any(|line| line.starts_with("Uid:\t0"));
            println!("root {root}");
            println!("processes {}", fs::read_dir("/proc")?.filter(|it| is_process(it)).count());
        }
        "fork" => {
            let sleeper = || {
                Command::new("/proc/self/exe").arg("sleep").stdout(Stdio::null()).spawn()
            };
            let mut children = Vec::new();
            while let Ok(child) = sleeper() {
                children.push(child);
                if children.len() > 1_000 {
                    print!("without end");
                    return declare(DECLARED);
                }
            }
            print!("held");
        }
        "gigabyte" => {
            File::create("/iexec_out/empty")?.set_len(1_000_000_000)?;
            return declare(r#"{"deterministic-output-path":"/iexec_out/empty"}"#);
        }
        "brim" => {
            for n in 0.. {
                fs::write(format!("/tmp/{n}"), [b'x'; 65_536])?;
            }
        }
        "whoami" => {
            let status = fs::read_to_string("/proc/self/status")?;
            let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let user = user.and_then(|ids| ids.split_whitespace().next()).unwrap_or_default();
            print!("{user} {}", fs::read_to_string("/proc/self/uid_map")?);
        }
        // User, group, further groups; and a directory of its own that nobody else may enter.
        "user" => {
            let status = fs::read_to_string("/proc/self/status")?;
            let of = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let (uid, gid) = (of("Uid:"), of("Gid:"));
            print!("{} {} [{}]", uid[0], gid[0], of("Groups:").join(" "));
            fs::create_dir("/iexec_out/own")?;
            fs::write("/iexec_out/own/file", "mine")?;
            fs::set_permissions("/iexec_out/own/file", fs::Permissions::from_mode(0))?;
            fs::set_permissions("/iexec_out/own", fs::Permissions::from_mode(0))?;
        }
        "hide" => {
            fs::write("/iexec_out/result", "hidden")?;
            fs::set_permissions("/iexec_out/result", fs::Permissions::from_mode(0))?;
            return declare(r#"{"deterministic-output-path":"/iexec_out/result"}"#);
        }
        "reach" => print!("{}", reached(first)),
        "listen" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("{}", listener.local_addr()?);
            for stream in listener.incoming() {
                drop(stream?);
            }
        }
        "open" => {
            let opened = File::options().read(true).write(true).open(first);
            print!("{}", opened.map_or_else(|error| error.to_string(), |_| "opened".to_owned()));
        }
        "write" => fs::write(first, rest.get(1).map(String::as_str).unwrap_or_default())?,
        "show" => print!("{}", fs::read_to_string(first)?),
        other => {
            eprint!("what is {other:?}?");
            return Ok(41);
        }
    }
    declare(DECLARED)
}

fn reached(address: &str) -> &'static str {
    if TcpStream::connect(address).is_ok() { "reached" } else { "kept" }
}

fn is_process(entry: &io::Result<fs::DirEntry>) -> bool {
    let name = entry.as_ref().map(|entry| entry.file_name().to_string_lossy().into_owned());
    name.is_ok_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}
