//! Everything of the published ABI is there: in the types, and answered by the code.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use bindings::{
    app, app_registry, boost, dataset, dataset_registry, hub, workerpool, workerpool_registry,
};

use crate::world::{World, text};

const OFFICIAL: &str = include_str!("official.txt");

/// Selector or topic, kind, signature or name.
type Line = (&'static str, &'static str, &'static str);

fn official(section: &str) -> Vec<Line> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in OFFICIAL.lines() {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.trim_end_matches(']') == section;
        } else if inside && !line.is_empty() {
            let mut words = line.splitn(3, ' ');
            lines.push((words.next().unwrap(), words.next().unwrap(), words.next().unwrap()));
        }
    }
    assert!(!lines.is_empty(), "no section {section}");
    lines
}

fn of_kind(lines: &[Line], kind: &str) -> BTreeSet<String> {
    lines.iter().filter(|line| line.1 == kind).map(|line| line.0.to_owned()).collect()
}

fn words<const N: usize>(selectors: &[[u8; N]]) -> BTreeSet<String> {
    selectors.iter().map(|selector| Bytes::copy_from_slice(selector).to_string()).collect()
}

#[track_caller]
fn check(section: &str, calls: &[[u8; 4]], events: &[[u8; 32]], errors: &[[u8; 4]]) {
    let lines = official(section);
    for (kind, ours) in
        [("function", words(calls)), ("event", words(events)), ("error", words(errors))]
    {
        let missing: Vec<_> = of_kind(&lines, kind).difference(&ours).cloned().collect();
        assert!(missing.is_empty(), "{section} lacks {kind}s {missing:?}");
    }
}

#[test]
fn the_list_hashes_to_its_selectors() {
    for line in OFFICIAL.lines().filter(|line| line.starts_with("0x")) {
        let mut words = line.splitn(3, ' ');
        let (selector, kind, signature) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        if kind != "event" {
            assert_eq!(
                Bytes::copy_from_slice(&keccak256(signature)[..4]).to_string(),
                selector,
                "{signature}"
            );
        }
    }
    let hub = official("hub");
    let count = |kind| of_kind(&hub, kind).len();
    assert_eq!((count("function"), count("event"), count("error")), (91, 32, 4));
}

#[test]
fn the_types_have_all_of_the_hub() {
    check("hub", hub::HubCalls::SELECTORS, hub::HubEvents::SELECTORS, hub::HubErrors::SELECTORS);
}

#[test]
fn the_types_have_all_of_boost() {
    use boost::{HubBoostCalls, HubBoostEvents};
    check("boost", HubBoostCalls::SELECTORS, HubBoostEvents::SELECTORS, &[]);
}

#[test]
fn the_hub_answers_every_function_of_boost() {
    let mut world = World::new();
    for (selector, kind, signature) in official("boost") {
        if kind == "function" {
            let data: Bytes = selector.parse().unwrap();
            let refused = world.raw(Address::ZERO, world.hub, data).unwrap_err();
            assert_ne!(refused, text("fallback-disabled"), "{signature}");
        }
    }
}

#[test]
fn the_types_have_all_of_the_registries() {
    use app_registry::{AppRegistryCalls, AppRegistryErrors, AppRegistryEvents};
    check(
        "app_registry",
        AppRegistryCalls::SELECTORS,
        AppRegistryEvents::SELECTORS,
        AppRegistryErrors::SELECTORS,
    );
    let others = [
        dataset_registry::DatasetRegistryCalls::SELECTORS,
        workerpool_registry::WorkerpoolRegistryCalls::SELECTORS,
    ]
    .concat();
    check("other_registries", &others, &[], &[]);
}

#[test]
fn the_types_have_all_of_the_entries() {
    check("app", app::AppCalls::SELECTORS, &[], &[]);
    check("dataset", dataset::DatasetCalls::SELECTORS, &[], &[]);
    check(
        "workerpool",
        workerpool::WorkerpoolCalls::SELECTORS,
        workerpool::WorkerpoolEvents::SELECTORS,
        &[],
    );
}

#[test]
fn the_hub_answers_every_function_but_one() {
    let mut world = World::new();
    let unanswered: Vec<_> = official("hub")
        .into_iter()
        .filter(|line| line.1 == "function")
        .filter(|(selector, _, _)| {
            let data: Bytes = selector.parse().unwrap();
            world.raw(Address::ZERO, world.hub, data).err() == Some(text("fallback-disabled"))
        })
        .map(|(_, _, signature)| signature)
        .collect();
    assert_eq!(unanswered, ["renounceOwnership()"]);
}

#[test]
fn registries_and_entries_answer_every_function() {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    let places =
        [("app_registry", world.apps), ("app", app), ("dataset", dataset), ("workerpool", pool)];
    for (section, place) in places {
        for (selector, _, signature) in
            official(section).into_iter().filter(|line| line.1 == "function")
        {
            // A call that is too short reverts without data whether or not the function exists; one that is long enough
            // does something. Arguments of zeros say "empty" for texts when they point at a word of zero.
            let mut data = selector.parse::<Bytes>().unwrap().to_vec();
            data.extend([0; 32 * 16]);
            let owner = world.cast.owner.address();
            let known = world.raw(owner, place, data.into());
            let unknown = world.raw(owner, place, B256::repeat_byte(0xcc).to_vec().into());
            assert!(
                known != unknown || signature.starts_with("initialize"),
                "{section} does not know {signature}"
            );
        }
    }
}

#[test]
fn plain_ether_and_unknown_calls_are_refused() {
    let mut world = World::new();
    let anyone = world.cast.developer.address();
    let disabled = text("fallback-disabled");
    assert_eq!(world.pay(anyone, world.hub, alloy_primitives::U256::ONE).unwrap_err(), disabled);
    for data in [vec![], vec![1, 2, 3], vec![0xde, 0xad, 0xbe, 0xef], vec![0; 100]] {
        assert_eq!(world.raw(anyone, world.hub, data.into()).unwrap_err(), disabled);
    }
    let record = keccak256("record()")[..4].to_vec();
    assert_eq!(world.raw(anyone, world.hub, record.into()).unwrap_err(), disabled);
}
