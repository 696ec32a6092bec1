//! Opening, writing together, and going wrong.

use alloy_primitives::B256;
use orders::OrderKind;
use store::{Change, Cursor, Error, OrderRow, Store};

use crate::{empty, order, put};

fn cursor(number: u64) -> Cursor {
    Cursor { number, hash: B256::repeat_byte(7) }
}

#[tokio::test]
async fn cursors_are_kept_by_name() {
    let store = empty().await;
    assert_eq!(store.cursor("book").await.expect("reads"), None);
    store.set_cursor("book", cursor(1)).await.expect("writes");
    store.set_cursor("book", cursor(2)).await.expect("writes");
    assert_eq!(store.cursor("book").await.expect("reads"), Some(cursor(2)));
    assert_eq!(store.cursor("other").await.expect("reads"), None);
}

#[tokio::test]
async fn a_list_of_changes_is_all_or_nothing_and_spoils_no_other() {
    let store = empty().await;
    let unwritable = OrderRow { volume: u64::MAX, ..order(OrderKind::App, 1) };
    let bad = store.apply(vec![
        Change::Cursor { name: "bad".into(), cursor: cursor(1) },
        Change::PutOrder(Box::new(unwritable)),
    ]);
    let good = store.set_cursor("good", cursor(2));
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(Error::TooLarge { what: "the volume" })), "{bad:?}");
    good.expect("the neighbour is written");
    assert_eq!(store.cursor("bad").await.expect("reads"), None);
    assert_eq!(store.cursor("good").await.expect("reads"), Some(cursor(2)));
}

#[tokio::test]
async fn many_writers_at_once_all_succeed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&dir.path().join("book.db")).await.expect("opens");
    let writers = (1..=200u8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { put(&store, [order(OrderKind::App, number)]).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writes");
    }
    assert_eq!(store.open_counts().await.expect("counts").app, 200);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("book.db");
    let store = Store::open(&path).await.expect("opens");
    store.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("opens");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&pool)
    .await
    .expect("writes");
    pool.close().await;
    let refused = Store::open(&path).await;
    assert!(matches!(refused, Err(Error::Newer { found: 9999, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("book.db");
    std::fs::write(&path, "this is not a database, only a text of some length").expect("writes");
    let refused = Store::open(&path).await.expect_err("refused");
    assert!(!refused.is_retryable());
    let message = refused.to_string();
    assert!(message.contains("book.db"), "{message}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = empty().await;
    store.close().await;
    assert!(matches!(store.cursor("book").await, Err(Error::Closed)));
    assert!(matches!(store.set_cursor("book", cursor(1)).await, Err(Error::Closed)));
}
