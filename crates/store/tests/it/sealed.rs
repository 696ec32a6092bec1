//! A vault's boxes.

use store::{SealedRow, Store, sealed_in_copy};

use crate::empty;

fn sealed(name: &str, version: u64, content: u8) -> SealedRow {
    SealedRow {
        kind: "kind".into(),
        owner: vec![1; 20],
        name: name.into(),
        version,
        sealed: vec![content; 40],
        expires_s: 0,
    }
}

async fn kept(store: &Store, name: &str) -> Option<SealedRow> {
    store.sealed("kind", &[1; 20], name).await.expect("reads")
}

#[tokio::test]
async fn of_many_who_add_one_is_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store.db")).await.expect("opens");
    let rows: Vec<SealedRow> = (0..8).map(|content| sealed("name", 1, content)).collect();
    let mut adding = tokio::task::JoinSet::new();
    for row in rows.clone() {
        let store = store.clone();
        adding.spawn(async move { (store.add_sealed(&row).await.expect("writes"), row) });
    }
    let first: Vec<SealedRow> = adding
        .join_all()
        .await
        .into_iter()
        .filter_map(|(added, row)| added.then_some(row))
        .collect();
    assert_eq!(first.len(), 1);
    assert_eq!(kept(&store, "name").await.as_ref(), first.first());
    assert_eq!(store.sealed_count("kind").await.expect("counts"), 1);
}

#[tokio::test]
async fn a_box_is_replaced_only_while_it_is_what_it_was() {
    let store = empty().await;
    let (old, new) = (sealed("name", 1, 1), sealed("name", 2, 2));
    assert!(!store.replace_sealed(&old, &new).await.expect("writes"), "there is none");
    assert!(store.add_sealed(&old).await.expect("writes"));
    assert!(store.replace_sealed(&old, &new).await.expect("writes"));
    assert!(!store.replace_sealed(&old, &sealed("name", 2, 3)).await.expect("writes"), "not now");
    assert_eq!(kept(&store, "name").await, Some(new));
}

#[tokio::test]
async fn boxes_are_listed_in_pages_and_forgotten_when_their_time_is_over() {
    let store = empty().await;
    for number in 1..=5u8 {
        let row = SealedRow {
            expires_s: u64::from(number) * 10,
            ..sealed(&format!("{number}"), 1, number)
        };
        assert!(store.add_sealed(&row).await.expect("writes"));
    }
    assert!(store.add_sealed(&sealed("for ever", 1, 9)).await.expect("writes"));
    let mut names = Vec::new();
    let mut last = None;
    loop {
        let page = store.sealed_after(last.as_ref(), 2).await.expect("reads");
        let Some(row) = page.last() else { break };
        last = Some(row.clone());
        names.extend(page.into_iter().map(|row| row.name));
    }
    assert_eq!(names, ["1", "2", "3", "4", "5", "for ever"]);
    assert_eq!(store.forget_sealed("kind", 30).await.expect("writes"), 2);
    assert_eq!(store.sealed_count("kind").await.expect("counts"), 4);
    assert_eq!(kept(&store, "2").await, None);
}

#[tokio::test]
async fn boxes_are_taken_from_a_copy_all_or_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("it's a copy");
    let store = Store::open(&directory.path().join("store.db")).await.expect("opens");
    for row in [sealed("kept", 1, 1), sealed("changed", 1, 2)] {
        assert!(store.add_sealed(&row).await.expect("writes"));
    }
    store.copy_to(&copy).await.expect("copies");
    store.copy_to(&copy).await.expect_err("is never written over");
    let changed = sealed("changed", 2, 3);
    assert!(store.replace_sealed(&sealed("changed", 1, 2), &changed).await.expect("writes"));
    assert!(store.add_sealed(&sealed("added", 1, 4)).await.expect("writes"));

    let inside = sealed_in_copy(&copy, "kind", &[1; 20], "changed").await.expect("reads");
    assert_eq!(inside, Some(sealed("changed", 1, 2)));
    let text = directory.path().join("text");
    std::fs::write(&text, "no database").expect("writes");
    store.take_sealed_from(&text).await.expect_err("is no database");
    assert_eq!(kept(&store, "changed").await, Some(changed));

    // Twice: nothing of the first time is left behind on the connection.
    for _ in 0..2 {
        store.take_sealed_from(&copy).await.expect("takes");
        assert_eq!(kept(&store, "changed").await, Some(sealed("changed", 1, 2)));
        assert_eq!(kept(&store, "added").await, None);
        assert_eq!(store.sealed_count("kind").await.expect("counts"), 2);
    }
}
