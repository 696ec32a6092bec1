//! Somebody runs the first command of the README.

use anyhow::Result;

use crate::{at, example, gristmill, list, text};

#[tokio::test]
async fn the_first_command_prints_the_programs_output_and_a_receipt() -> Result<()> {
    let (program, book) = (example("wordcount/wordcount.wasm"), example("wordcount/alice.txt"));
    let ran = gristmill()?.run(["run", text(&program), "--input", text(&book)]).await?.ok()?;

    assert!(ran.stdout.contains("alice"), "{}", ran.stdout);
    let offers = ran.stderr.lines().filter(|line| line.starts_with("offer")).count();
    assert!(offers >= 2, "several offers compete: {}", ran.stderr);
    for said in
        ["chosen", "history", "receipt", "deal", "consensus", "on chain", "paid to", "gas", "time"]
    {
        assert!(ran.stderr.contains(said), "nothing of '{said}': {}", ran.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_program_gets_its_arguments_and_all_its_inputs() -> Result<()> {
    let program = example("join/join.wasm");
    let (planets, orbits) = (example("join/planets.csv"), example("join/orbits.csv"));
    let home = gristmill()?;
    let out = home.home().join("out");
    let arguments = ["run", text(&program), "--json", "--out", text(&out)];
    let inputs = ["--input", text(&planets), "--input", text(&orbits)];
    let ran =
        home.run(arguments.iter().chain(&inputs).chain(&["--", "--on", "planet"])).await?.ok()?;

    let said = ran.json()?;
    let table = at(&said, "/results/0/output")?.as_str().unwrap_or_default();
    assert!(table.starts_with("planet,"), "{table}");
    assert!(table.lines().count() > 4, "{table}");
    assert_eq!(std::fs::read_to_string(out.join("stdout.txt"))?, table);
    assert_eq!(at(&said, "/receipt/tasks/0/verified")?, true);
    assert_eq!(at(&said, "/results/0/covered")?, true);
    let paid: Vec<&str> =
        list(&said, "/receipt/payments")?.iter().filter_map(|one| one["role"].as_str()).collect();
    assert!(paid.contains(&"worker") && paid.contains(&"scheduler"), "{paid:?}");
    Ok(())
}
