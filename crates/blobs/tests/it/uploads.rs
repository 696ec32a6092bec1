//! Uploads that are interrupted.

use blobs::{ABANDONED_AFTER, Announced, Blobs, Error, Key, Limits, Part, Uploads};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt};

const KEY: Key = [7; 32];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn announced(content: &[u8]) -> Announced {
    Announced { size: content.len() as u64, sha256: Sha256::digest(content).into() }
}

/// Gives these bytes, and then the connection breaks.
fn cut(bytes: &[u8]) -> impl AsyncRead + Unpin + '_ {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    bytes.chain(tokio_util::io::StreamReader::new(futures::stream::iter([Err::<&[u8], _>(broken)])))
}

fn shown(part: &Result<Part, Error>) -> String {
    match part {
        Ok(Part::UpTo(offset)) => format!("up to {offset}"),
        Ok(Part::Whole(_)) => "whole".to_owned(),
        Ok(Part::Known(word)) => format!("known: {word}"),
        Err(error) => format!("{}: {error}", error.code()),
    }
}

async fn offset(uploads: &Uploads) -> Option<u64> {
    uploads.standing(KEY).await.unwrap().map(|standing| standing.offset)
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut_and_over_a_restart() {
    let (dir, content) = (tempfile::tempdir().unwrap(), content(300_000));
    let what = announced(&content);
    {
        let blobs = Blobs::open(dir.path()).unwrap();
        let part = blobs.uploads().take(KEY, what, 0, cut(&content[..100_000])).await;
        assert!(shown(&part).starts_with("GM-4303"), "{}", shown(&part));
        assert_eq!(offset(blobs.uploads()).await, Some(100_000), "what came is kept");
    }
    let blobs = Blobs::open(dir.path()).unwrap();
    let uploads = blobs.uploads();
    assert_eq!(offset(uploads).await, Some(100_000), "over a restart too");
    let wrong = uploads.take(KEY, what, 50_000, &content[50_000..]).await;
    assert_eq!(shown(&wrong), "GM-8602: the upload goes on at byte 100000");
    let part = uploads.take(KEY, what, 100_000, &content[100_000..250_000]).await;
    assert_eq!(shown(&part), "up to 250000");
    let Ok(Part::Whole(whole)) = uploads.take(KEY, what, 250_000, &content[250_000..]).await else {
        panic!("it is all there")
    };
    // Not brought to its place, as when the process dies here: an empty part tries again.
    drop(whole);
    let Ok(Part::Whole(whole)) = uploads.take(KEY, what, what.size, tokio::io::empty()).await
    else {
        panic!("it is all there still")
    };
    let added = blobs.add_uploaded(&whole, SystemTime::now()).await.unwrap();
    whole.done("/ipfs/it").await;
    assert_eq!(added, Blobs::temporary().unwrap().add(&content[..]).await.unwrap(), "same name");
    assert_eq!(blobs.open_blob(&added.cid).await.unwrap().unwrap().size, what.size);
    assert_eq!(std::fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
    // Whoever did not hear it asks again.
    assert_eq!(offset(uploads).await, Some(what.size));
    let again = uploads.take(KEY, what, what.size, tokio::io::empty()).await;
    assert_eq!(shown(&again), "known: /ipfs/it");
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_dropped() {
    let (blobs, content) = (Blobs::temporary().unwrap(), content(1_000));
    let what = announced(&content);
    let mut other = content.clone();
    other[500] ^= 1;
    let uploads = blobs.uploads();
    assert!(shown(&uploads.take(KEY, what, 0, &other[..]).await).starts_with("GM-8603"));
    assert_eq!(offset(uploads).await, None);
    let more = [&content[..], b"x"].concat();
    assert!(shown(&uploads.take(KEY, what, 0, &more[..]).await).starts_with("GM-4302"));
    assert_eq!(shown(&uploads.take(KEY, what, 0, &content[..10]).await), "up to 10");
    let next = announced(&other);
    assert!(shown(&uploads.take(KEY, next, 10, &other[10..]).await).starts_with("GM-8602"));
    assert_eq!(shown(&uploads.take(KEY, next, 0, &other[..]).await), "whole", "a new result");
}

#[tokio::test]
async fn a_sender_that_comes_anew_takes_over_from_a_connection_that_hangs() {
    let (blobs, content) = (Blobs::temporary().unwrap(), content(1_000));
    let what = announced(&content);
    let (mut hanging, reader) = tokio::io::duplex(64);
    let uploads = blobs.uploads().clone();
    let first = tokio::spawn(async move { uploads.take(KEY, what, 0, reader).await });
    tokio::io::AsyncWriteExt::write_all(&mut hanging, &content[..100]).await.unwrap();
    let reached = loop {
        match offset(blobs.uploads()).await {
            Some(reached) if reached > 0 => break reached,
            _ => tokio::task::yield_now().await,
        }
    };
    let taken = loop {
        let at = offset(blobs.uploads()).await.unwrap();
        assert!(at >= reached);
        let rest = &content[usize::try_from(at).unwrap()..];
        match blobs.uploads().take(KEY, what, at, rest).await {
            // What hung had more than it had written yet.
            Err(Error::Misplaced { .. }) => {}
            taken => break taken,
        }
    };
    assert_eq!(shown(&taken), "whole");
    assert!(first.await.unwrap().is_err());
}

#[tokio::test]
async fn an_upload_that_lies_is_given_up_and_its_promise_released() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { all_bytes_max: Some(10_000), ..Limits::default() };
    let blobs = Blobs::open_with(dir.path(), limits).unwrap();
    let content = content(6_000);
    let what = announced(&content);
    let uploads = blobs.uploads();
    assert_eq!(shown(&uploads.take(KEY, what, 0, &content[..10]).await), "up to 10");
    let second = uploads.take([8; 32], what, 0, &content[..10]).await;
    assert!(shown(&second).starts_with("GM-8601"), "{}", shown(&second));
    let now = SystemTime::now();
    assert_eq!(uploads.expire(now, ABANDONED_AFTER).await, 0);
    assert_eq!(
        uploads.expire(now + ABANDONED_AFTER + Duration::from_secs(60), ABANDONED_AFTER).await,
        1
    );
    assert_eq!(offset(uploads).await, None);
    assert_eq!(shown(&uploads.take([8; 32], what, 0, &content[..10]).await), "up to 10");
}
