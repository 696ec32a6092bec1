//! docs/trust.md says what the simulator says.

const PAGE: &str = include_str!("../../../../docs/trust.md");

#[test]
fn the_page_holds_what_the_simulator_gives() {
    let row = sim::trust::sample_row().unwrap();
    assert!(
        PAGE.lines().any(|line| line == row),
        "not in docs/trust.md, make it anew with `cargo xtask sim --report --write`: {row}"
    );
}

#[test]
fn every_cheat_on_the_page_loses_but_the_one_that_it_names() {
    let exception = ("a Sybil of three wallets", 0);
    let names: Vec<_> = sim::trust::cheats().into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for line in PAGE.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let Some(name) = cells.next().filter(|name| names.contains(name)) else { continue };
        for (trust, cell) in cells.filter(|cell| !cell.is_empty()).enumerate() {
            seen += 1;
            let loses = cell.starts_with('-');
            assert!(loses || (name, trust) == exception, "{name} gains {cell}");
        }
    }
    assert_eq!(seen, 4 * names.len());
}
