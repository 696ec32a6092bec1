//! A program for an image in tests: greets whom it is told to, or fails where it is told to.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "--fail") {
        eprintln!("nobody to greet");
        return ExitCode::from(3);
    }
    println!("hello {} from a container", args.join(" and "));
    let declared = r#"{"deterministic-output-path":"/iexec_out/stdout.txt"}"#;
    match std::fs::write("/iexec_out/computed.json", declared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
