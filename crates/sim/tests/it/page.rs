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
fn every_cheat_on_the_page_loses_whatever_chance_has_to_do_with_it() {
    let names: Vec<_> = sim::trust::cheats().into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for line in PAGE.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let Some(name) = cells.next().filter(|name| names.contains(name)) else { continue };
        for cell in cells.filter(|cell| !cell.is_empty()) {
            seen += 1;
            let mut numbers = cell.split([' ', '±']).filter_map(|word| word.parse::<f64>().ok());
            let (mean, margin) = (numbers.next().unwrap(), numbers.next().unwrap());
            assert!(mean + margin < 0.0, "{name} gains {cell}");
        }
    }
    assert_eq!(seen, 4 * names.len());
}

#[test]
fn the_promise_on_the_page_is_kept_wherever_the_formula_makes_one() {
    let mut seen = 0;
    for line in PAGE.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let share = cells.next().and_then(|word| word.strip_suffix(" %")?.parse::<u32>().ok());
        if share.is_none_or(|share| share > 30) {
            continue;
        }
        for (cell, trust) in cells.zip(sim::trust::TRUSTS) {
            seen += 1;
            let wrong: f64 = cell.split(' ').next().unwrap().parse().unwrap();
            assert!(wrong * (trust as f64) < 1_000.0, "trust {trust}: {cell}");
        }
    }
    assert_eq!(seen, 5 * sim::trust::TRUSTS.len());
}
