//! A vault's boxes.

use store::{SealedRow, Store};

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
