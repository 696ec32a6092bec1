//! What is kept and what goes.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use blobs::{Blobs, Cid, Error, Keeper, Limits, Policy, Swept};
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const POLICY: Policy = Policy {
    keep_results: Duration::from_secs(30 * 24 * 3_600),
    keep_files: Duration::from_secs(7 * 24 * 3_600),
    all_bytes_max: None,
};

/// Knows what is needed, or does not.
struct Known(Option<HashMap<Cid, String>>);

#[async_trait]
impl Keeper for Known {
    async fn needed(&self) -> Result<HashMap<Cid, String>, String> {
        self.0.clone().ok_or_else(|| "the book does not answer".to_owned())
    }
}

fn nothing() -> Known {
    Known(Some(HashMap::new()))
}

fn needs(cid: Cid) -> Known {
    Known(Some(HashMap::from([(cid, "input of a deal".to_owned())])))
}

async fn has(blobs: &Blobs, cid: &Cid) -> bool {
    blobs.open_blob(cid).await.unwrap().is_some()
}

async fn sweep(blobs: &Blobs, keeper: &Known, at: SystemTime) -> Swept {
    blobs.sweep(POLICY, keeper, at, false).await.unwrap()
}

#[tokio::test]
async fn days_holds_pins_and_needs_keep_and_nothing_else_does() {
    let blobs = Blobs::temporary().unwrap();
    let now = SystemTime::now();
    let input = blobs.add(&b"an input"[..]).await.unwrap().cid;
    let result = blobs.add_result(&b"a result"[..], now + 2 * DAY).await.unwrap().cid;
    assert_eq!(sweep(&blobs, &nothing(), now + 6 * DAY).await.removed, 0);

    // Past its days; but a deal needs it, then a pin holds it.
    let later = now + 8 * DAY;
    let kept = sweep(&blobs, &needs(input), later).await;
    assert_eq!((kept.removed, kept.verdicts[0].kept_for.as_deref()), (0, Some("input of a deal")));
    blobs.pin(&input, "for the demonstration").await.unwrap();
    let kept = sweep(&blobs, &nothing(), later).await;
    let why = kept.verdicts[0].kept_for.as_deref();
    assert_eq!((kept.removed, why), (0, Some("pinned: for the demonstration")));
    assert!(blobs.unpin(&input).await.unwrap() && !blobs.unpin(&input).await.unwrap());

    let unsure = blobs.sweep(POLICY, &Known(None), later, false).await;
    assert!(matches!(unsure, Err(Error::Unsure { .. })) && has(&blobs, &input).await);
    let dry = blobs.sweep(POLICY, &nothing(), later, true).await.unwrap();
    assert_eq!((dry.removed, dry.removed_bytes), (1, 8));
    assert_eq!(dry.verdicts[0].cid, input.to_string());
    assert!(has(&blobs, &input).await, "a dry run removes nothing");
    assert_eq!(sweep(&blobs, &nothing(), later).await.removed, 1);
    assert!(!has(&blobs, &input).await && has(&blobs, &result).await);

    // Thirty days after its deal, not after the upload.
    assert_eq!(sweep(&blobs, &nothing(), now + 31 * DAY).await.removed, 0);
    assert_eq!(sweep(&blobs, &nothing(), now + 33 * DAY).await.removed, 1);
    assert!(!has(&blobs, &result).await);
}

#[tokio::test]
async fn what_is_added_again_is_kept_for_longer() {
    let blobs = Blobs::temporary().unwrap();
    let now = SystemTime::now();
    let cid = blobs.add_result(&b"same"[..], now).await.unwrap().cid;
    blobs.add_result(&b"same"[..], now + 10 * DAY).await.unwrap();
    blobs.add_result(&b"same"[..], now + 5 * DAY).await.unwrap();
    assert_eq!(sweep(&blobs, &nothing(), now + 39 * DAY).await.removed, 0);
    assert_eq!(sweep(&blobs, &nothing(), now + 41 * DAY).await.removed, 1);
    assert!(!has(&blobs, &cid).await);
}

#[tokio::test]
async fn too_much_pushes_out_the_longest_unneeded_but_never_what_a_deal_holds() {
    let dir = tempfile::tempdir().unwrap();
    let most = Limits { all_bytes_max: Some(1_000), ..Limits::default() };
    let blobs = Blobs::open_with(dir.path(), most).unwrap();
    let policy = Policy { all_bytes_max: Some(400), ..POLICY };
    let now = SystemTime::now();
    let ago = |days| now - days * DAY;
    let mut cids = Vec::new();
    for (byte, until) in [(1, ago(3)), (2, ago(2)), (3, ago(1)), (4, now + DAY), (5, now + DAY)] {
        cids.push(blobs.add_result(&[byte; 100][..], until).await.unwrap().cid);
    }
    let swept = blobs.sweep(policy, &needs(cids[0]), now, false).await.unwrap();
    assert_eq!(swept.removed, 1, "the oldest is needed: the next goes");
    let there: Vec<bool> = futures::future::join_all(cids.iter().map(|cid| has(&blobs, cid))).await;
    assert_eq!(there, [true, false, true, true, true]);
    let tight = Policy { all_bytes_max: Some(0), ..POLICY };
    blobs.sweep(tight, &nothing(), now, false).await.unwrap();
    let there: Vec<bool> = futures::future::join_all(cids.iter().map(|cid| has(&blobs, cid))).await;
    assert_eq!(there, [false, false, false, true, true]);
    assert_eq!(blobs.used_bytes(), Some(200));
}

#[tokio::test]
async fn a_full_store_refuses_and_leaves_room_for_results() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { all_bytes_max: Some(1_000), ..Limits::default() };
    let blobs = Blobs::open_with(dir.path(), limits).unwrap();
    blobs.add(&[1; 850][..]).await.unwrap();
    let refused = blobs.add(&[2; 10][..]).await.unwrap_err();
    assert_eq!(refused.code(), "GM-8601");
    let now = SystemTime::now();
    blobs.add_result(&[3; 200][..], now).await.unwrap();
    assert_eq!(blobs.add_result(&[4; 10][..], now).await.unwrap_err().code(), "GM-8601");
    // The same after a restart, once it was counted.
    let blobs = Blobs::open_with(dir.path(), limits).unwrap();
    assert_eq!((blobs.used_bytes(), blobs.count().await.unwrap()), (None, 1_050));
    assert_eq!(blobs.add(&[2; 10][..]).await.unwrap_err().code(), "GM-8601");
    let crowded = Limits { free_bytes_min: u64::MAX, ..Limits::default() };
    let blobs = Blobs::open_with(dir.path(), crowded).unwrap();
    assert_eq!(blobs.add(&[2; 10][..]).await.unwrap_err().code(), "GM-8601", "the disk's end");
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Result(u8, u64),
    Pin(u8),
    Unpin(u8),
    /// A sweep so many days later, with this blob needed.
    Sweep(u64, u8),
    /// One with room for next to nothing, with this blob needed.
    Squeeze(u8),
    /// The process dies, perhaps in the middle of writing, and comes back.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..4_u8;
    prop_oneof![
        3 => which().prop_map(Step::Add),
        3 => (which(), 0..40_u64).prop_map(|(which, days)| Step::Result(which, days)),
        1 => which().prop_map(Step::Pin),
        1 => which().prop_map(Step::Unpin),
        3 => (0..80_u64, which()).prop_map(|(days, which)| Step::Sweep(days, which)),
        1 => which().prop_map(Step::Squeeze),
        1 => Just(Step::Die),
    ]
}

/// Whatever happens, what is pinned, needed or held is there, and no sweep changes any of it by being cut short: each
/// removal is one step, and all that follow from the files alone.
async fn live(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::open(dir.path()).unwrap();
    let start = SystemTime::now();
    let (mut now, mut there, mut pinned) = (start, BTreeSet::new(), BTreeSet::new());
    let mut held: HashMap<u8, SystemTime> = HashMap::new();
    let cids = {
        let names = Blobs::temporary().unwrap();
        let mut cids = Vec::new();
        for which in 0..4_u8 {
            cids.push(names.add(&[which][..]).await.unwrap().cid);
        }
        cids
    };
    for step in steps {
        match step {
            Step::Add(which) => {
                blobs.add(&[which][..]).await.unwrap();
                there.insert(which);
            }
            Step::Result(which, days) => {
                let until = now + u32::try_from(days).unwrap() * DAY;
                blobs.add_result(&[which][..], until).await.unwrap();
                there.insert(which);
                let held = held.entry(which).or_insert(until);
                *held = until.max(*held);
            }
            Step::Pin(which) => {
                blobs.pin(&cids[usize::from(which)], "why").await.unwrap();
                pinned.insert(which);
            }
            Step::Unpin(which) => {
                blobs.unpin(&cids[usize::from(which)]).await.unwrap();
                pinned.remove(&which);
            }
            Step::Sweep(days, which) => {
                now += u32::try_from(days).unwrap() * DAY;
                let needed = needs(cids[usize::from(which)]);
                sweep(&blobs, &needed, now).await;
                there.retain(|it| {
                    let days_left = held.get(it).is_some_and(|until| *until + 30 * DAY >= now);
                    let fresh = now <= start + 7 * DAY;
                    *it == which || pinned.contains(it) || days_left || fresh
                });
            }
            Step::Squeeze(which) => {
                let tight = Policy { all_bytes_max: Some(1), ..POLICY };
                let needed = needs(cids[usize::from(which)]);
                blobs.sweep(tight, &needed, now, false).await.unwrap();
                there.retain(|it| {
                    let is_held = held.get(it).is_some_and(|until| *until > now);
                    *it == which || pinned.contains(it) || is_held
                });
            }
            Step::Die => {
                std::fs::write(dir.path().join("incoming/half"), "half").unwrap();
                blobs = Blobs::open(dir.path()).unwrap();
            }
        }
        for which in &there {
            assert!(has(&blobs, &cids[usize::from(*which)]).await, "{which} is gone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_goes_that_somebody_keeps(steps in prop::collection::vec(step(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(steps));
    }
}
