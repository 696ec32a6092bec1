//! Deals and categories.

use alloy_primitives::{Address, B256, U256};
use primitives::{DealId, OrderHash, Tag};
use store::{AssetColumns, CategoryFilter, CategoryRow, Change, DealFilter, DealRow};

use crate::{FIRST, empty, wallet};

fn deal(number: u8, block_number: u64) -> DealRow {
    let asset = |pointer| AssetColumns { pointer, owner: wallet(2), price: U256::MAX };
    DealRow {
        id: DealId(B256::repeat_byte(number)),
        block_number,
        block_time: 1_700_000_000,
        tx_hash: B256::repeat_byte(3),
        app: asset(wallet(10)),
        dataset: AssetColumns::default(),
        workerpool: asset(wallet(12)),
        requester: wallet(number),
        beneficiary: wallet(5),
        callback: Address::ZERO,
        app_hash: OrderHash(B256::repeat_byte(21)),
        dataset_hash: OrderHash(B256::repeat_byte(22)),
        workerpool_hash: OrderHash(B256::repeat_byte(23)),
        request_hash: OrderHash(B256::repeat_byte(24)),
        params: "{}".into(),
        volume: U256::from(3),
        category: U256::from(2),
        tag: Tag::GPU,
        trust: U256::from(1),
        start_time: 1_700_000_000,
        bot_first: U256::ZERO,
        bot_size: U256::from(3),
        scheduler_reward_ratio: U256::from(5),
        worker_stake: U256::from(7),
    }
}

#[tokio::test]
async fn deals_come_newest_first_and_by_what_they_name() {
    let store = empty().await;
    let rows = [deal(1, 10), deal(2, 11), deal(3, 11)];
    let changes = rows.iter().cloned().map(|row| Change::PutDeal(Box::new(row))).collect();
    store.apply(changes).await.expect("writes");
    let (found, count) = store.deals(&DealFilter::default(), FIRST).await.expect("reads");
    assert_eq!(found, [rows[1].clone(), rows[2].clone(), rows[0].clone()]);
    assert_eq!(count, 3);

    let by_requester = DealFilter { requester: Some(wallet(3)), ..DealFilter::default() };
    assert_eq!(store.deals(&by_requester, FIRST).await.expect("reads"), (vec![rows[2].clone()], 1));
    let elsewhere = DealFilter { category: Some(U256::from(9)), ..DealFilter::default() };
    assert_eq!(store.deals(&elsewhere, FIRST).await.expect("reads"), (vec![], 0));
    assert_eq!(store.deal(rows[0].id).await.expect("reads"), Some(rows[0].clone()));
}

#[tokio::test]
async fn a_rewound_chain_is_forgotten() {
    let store = empty().await;
    let category = |id, block_number| CategoryRow {
        id,
        name: "XS".into(),
        description: "short".into(),
        work_clock_seconds: 300 - id,
        tx_hash: B256::ZERO,
        block_number,
        block_time: 0,
    };
    let changes = vec![
        Change::PutDeal(Box::new(deal(1, 10))),
        Change::PutDeal(Box::new(deal(2, 11))),
        Change::PutCategory(category(0, 1)),
        Change::PutCategory(category(1, 2)),
        Change::PutCategory(category(2, 11)),
        Change::ForgetAfter { block: 10 },
    ];
    store.apply(changes).await.expect("writes");
    let (deals, _) = store.deals(&DealFilter::default(), FIRST).await.expect("reads");
    assert_eq!(deals, [deal(1, 10)]);
    let (categories, count) =
        store.categories(CategoryFilter::default(), FIRST).await.expect("reads");
    assert_eq!((categories, count), (vec![category(1, 2), category(0, 1)], 2));
    let long = CategoryFilter { min_work_clock_seconds: Some(300), max_work_clock_seconds: None };
    assert_eq!(store.categories(long, FIRST).await.expect("reads").1, 1);
    assert_eq!(store.category(2).await.expect("reads"), None);
}
