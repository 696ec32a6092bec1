//! Why a request is not matched, and what would help.
//!
//! ```text
//! request alone: offers of its app and dataset, and of computing as it wants it and otherwise ─► least change (orders::why)
//!                nothing to change? ─► judge the best of them as the contract will
//! four orders:   judge them as the contract will, and work out the least change of the request
//! ```
//!
//! Of each kind of offer the cheapest few are looked at, for each way in which they may differ from what is wanted: the
//! answer costs the same whatever the size of the book.
//!
//! **Layout:** here, the question and its answer · `place` where it must run.

mod place;

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, U256};
use chain::AssetKind;
use orders::matching::{self, AssetFacts, Consumed, Facts, Funds, PoolPolicy, Refusal};
use orders::why::{self, NoWay, Offers, Way};
use orders::{AppOrder, DatasetOrder, OrderKind, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{OrderHash, Tag};
use serde_json::{Map, Value};
use store::{CategoryFilter, OrderFilter, OrderRow, Party, Range, Status};
use wire::market::{ApiError, Named, OfferHashes, Order, Remedy, Why, WhyQuery};

use crate::Error;
use crate::book::{Book, order_name};
use crate::rows;
use place::Place;

/// Offers looked at of each kind, for each way to differ.
const EACH_MAX: u64 = 8;
/// Offers of an app or a dataset looked at.
const ASSET_OFFERS_MAX: u64 = 24;
/// Remedies given.
const REMEDIES_MAX: usize = 3;

/// Answers the question.
pub(crate) async fn why(book: &Book, query: &WhyQuery) -> Result<Why, ApiError> {
    let request = request(book, &query.request).await?;
    match (&query.app, &query.workerpool) {
        (Some(app), Some(pool)) => exactly(book, request, app, query.dataset.as_ref(), pool).await,
        _ => {
            let place = query.region.as_deref().map(|region| Place::of(book, region));
            across_the_book(book, request, place.as_ref()).await
        }
    }
}

/// A request, and whether its signature is still to come.
struct Asked {
    order: RequestOrder,
    unsigned: bool,
    /// Why the book does not count it among the open ones, if it has it.
    closed: Option<Status>,
}

async fn request(book: &Book, named: &Named) -> Result<Asked, ApiError> {
    let (order, status) = find(book, OrderKind::Request, named).await?;
    let Order::Request(order) = order else {
        return Err(ApiError::NotFound("requestorder"));
    };
    let unsigned = order.sign.is_empty() && matches!(named, Named::Order(_));
    Ok(Asked { order: *order, unsigned, closed: status.filter(|s| *s != Status::Open) })
}

async fn find(
    book: &Book,
    kind: OrderKind,
    named: &Named,
) -> Result<(Order, Option<Status>), ApiError> {
    let hash = match named {
        Named::Order(order) if order.kind() == kind => return Ok(((**order).clone(), None)),
        Named::Order(_) => return Err(ApiError::NotFound(order_name(kind))),
        Named::Hash(hash) => *hash,
    };
    let row = book.store.order(hash).await.map_err(Error::from)?;
    let row = row.filter(|row| row.kind == kind).ok_or(ApiError::NotFound(order_name(kind)))?;
    let status = row.state.status;
    Ok((rows::to_order(row), Some(status)))
}

async fn exactly(
    book: &Book,
    asked: Asked,
    app: &Named,
    dataset: Option<&Named>,
    pool: &Named,
) -> Result<Why, ApiError> {
    let (Order::App(app), _) = find(book, OrderKind::App, app).await? else {
        return Err(ApiError::NotFound("apporder"));
    };
    let dataset = match dataset {
        None => DatasetOrder::none(),
        Some(named) => match find(book, OrderKind::Dataset, named).await?.0 {
            Order::Dataset(order) => order,
            _ => return Err(ApiError::NotFound("datasetorder")),
        },
    };
    let (Order::Workerpool(workerpool), _) = find(book, OrderKind::Workerpool, pool).await? else {
        return Err(ApiError::NotFound("workerpoolorder"));
    };
    let quartet = Quartet { app, dataset, workerpool, request: asked.order };
    let facts = facts(book, &quartet, asked.unsigned).await?;
    let offers = Some(hashes(book, &quartet));
    let judged = matching::check(&quartet, &facts);
    let Err(refusal) = judged else { return Ok(matched(&quartet, offers)) };
    let changes =
        why::changes(&quartet.request, &quartet.app, &quartet.dataset, &quartet.workerpool);
    // Changes that suffice for the offers may leave what the chain says in the way.
    let mut remedies = Vec::new();
    if let Some(changes) = changes.filter(|changes| !changes.is_empty()) {
        remedies.push(remedy(&quartet.request, &changes, offers.clone()));
        let request = why::changed(&quartet.request, &changes);
        if let Err(still) = matching::check(&Quartet { request, ..quartet }, &facts) {
            remedies.push(Remedy { besides: true, ..told(&still) });
        }
    } else {
        remedies.push(told(&refusal));
    }
    Ok(Why {
        matches: false,
        code: Some(refusal.code.to_string()),
        what: refusal.what,
        remedies,
        offers,
    })
}

async fn across_the_book(
    book: &Book,
    asked: Asked,
    place: Option<&Place>,
) -> Result<Why, ApiError> {
    let Asked { order: request, unsigned, closed } = asked;
    if let Some(status) = closed.filter(|status| *status != Status::Dead) {
        return Ok(used_up(status));
    }
    let apps = offers_of(book, &request, OrderKind::App).await?;
    let datasets = if request.dataset.is_zero() {
        Vec::new()
    } else {
        offers_of(book, &request, OrderKind::Dataset).await?
    };
    let apps: Vec<_> = apps.into_iter().filter_map(app_order).collect();
    let datasets: Vec<_> = datasets.into_iter().filter_map(dataset_order).collect();
    let pools = match place {
        Some(place) => place.computing(book, &request).await?,
        None => computing(book, &request, None).await?,
    };
    if let Some(place) = place.filter(|_| pools.is_empty()) {
        return Ok(place.has_nothing(book, &request).await?);
    }
    let pools: Vec<_> = pools.into_iter().filter_map(pool_order).collect();
    let offers = Offers { apps: &apps, datasets: &datasets, workerpools: &pools };
    let ways = match why::least_change(&request, offers, REMEDIES_MAX) {
        Ok(ways) => ways,
        Err(no_way) => return Ok(hopeless(&request, no_way)),
    };
    let Some(best) = ways.first() else { return Ok(hopeless(&request, NoWay::Restricted)) };
    let Some(whole) = why::quartet(&request, offers, best) else {
        return Err(ApiError::Internal);
    };
    let facts = facts(book, &whole, unsigned).await?;
    let offer_hashes = Some(hashes(book, &whole));
    if best.changes.is_empty() {
        return Ok(match matching::check(&whole, &facts) {
            Ok(_) if closed.is_some() => died(offer_hashes),
            Ok(_) => {
                let mut why = matched(&whole, offer_hashes);
                if let Some(place) = place {
                    place.show(&mut why, &request, whole.workerpool.workerpool);
                }
                why
            }
            Err(refusal) => Why {
                matches: false,
                code: Some(refusal.code.to_string()),
                what: refusal.what.clone(),
                remedies: vec![told(&refusal)],
                offers: offer_hashes,
            },
        });
    }
    let refused = matching::check(&Quartet { request: request.clone(), ..whole.clone() }, &facts);
    let code = refused.err().map(|refusal| refusal.code.to_string());
    let what = obstacles(book, &request, best, place).await?;
    let mut remedies = Vec::new();
    for way in &ways {
        let with = why::quartet(&request, offers, way);
        let hashes = with.as_ref().map(|whole| hashes(book, whole));
        let mut remedy = remedy(&request, &way.changes, hashes);
        if let (Some(place), Some(whole)) = (place, with) {
            place.name(&mut remedy, &request, whole.workerpool.workerpool);
        }
        remedies.push(remedy);
    }
    if let Err(still) = matching::check(&whole, &facts) {
        // It will not do to change the request alone.
        remedies.push(Remedy { besides: true, ..told(&still) });
    }
    Ok(Why { matches: false, code, what, remedies, offers: offer_hashes })
}

/// Open offers of the request's app or dataset, cheapest first: those for this requester, and if the request's demands
/// leave none, others.
async fn offers_of(
    book: &Book,
    request: &RequestOrder,
    kind: OrderKind,
) -> Result<Vec<OrderRow>, Error> {
    let mut filter =
        OrderFilter { requester: Party::Admits(request.requester), ..OrderFilter::all(kind) };
    match kind {
        OrderKind::App => filter.app = Party::Is(request.app),
        _ => filter.dataset = Party::Is(request.dataset),
    }
    let first = Range { skip: 0, limit: ASSET_OFFERS_MAX };
    let mut rows = book.store.open_offers(&filter, first).await?;
    if kind == OrderKind::App && request.tag.contains(Tag::TEE) {
        let enclave = OrderFilter { min_tag: Some(Tag::TEE), ..filter };
        rows.extend(book.store.open_offers(&enclave, first).await?);
    }
    Ok(distinct(rows))
}

/// Open offers of computing: the cheapest that do what is wanted, and the cheapest for each way to want less; by that
/// workerpool only, if one is given.
async fn computing(
    book: &Book,
    request: &RequestOrder,
    by: Option<Address>,
) -> Result<Vec<OrderRow>, Error> {
    let (category, trust) = (request.category.saturating_to(), request.trust.saturating_to());
    let workerpool = by.unwrap_or(request.workerpool);
    let named = !workerpool.is_zero();
    let first = Range { skip: 0, limit: EACH_MAX };
    let mut rows = Vec::new();
    for less in 0..16_u8 {
        let [any_category, any_tag, any_trust, any_pool] = [1, 2, 4, 8].map(|bit| less & bit != 0);
        if (any_tag && request.tag == Tag::NONE)
            || (any_pool && (!named || by.is_some()))
            || (any_trust && trust <= 1)
        {
            continue;
        }
        let filter = OrderFilter {
            workerpool: if named && !any_pool { Party::Is(workerpool) } else { Party::Any },
            requester: Party::Admits(request.requester),
            app: Party::Admits(request.app),
            dataset: Party::Admits(request.dataset),
            category: (!any_category).then_some(category),
            min_tag: (!any_tag && request.tag != Tag::NONE).then_some(request.tag),
            min_trust: (!any_trust).then_some(trust),
            ..OrderFilter::all(OrderKind::Workerpool)
        };
        rows.extend(book.store.open_offers(&filter, first).await?);
    }
    Ok(distinct(rows))
}

fn distinct(mut rows: Vec<OrderRow>) -> Vec<OrderRow> {
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.hash));
    rows
}

/// What is wrong, with how many offers there would be without it.
async fn obstacles(
    book: &Book,
    request: &RequestOrder,
    way: &Way,
    place: Option<&Place>,
) -> Result<String, Error> {
    let mut texts = Vec::new();
    for change in &way.changes {
        let mut text = change.obstacle();
        if let why::Change::DropDemands { tag } = *change {
            let without = request.tag & !tag;
            let filter = OrderFilter {
                category: Some(request.category.saturating_to()),
                min_tag: (without != Tag::NONE).then_some(without),
                app: Party::Admits(request.app),
                dataset: Party::Admits(request.dataset),
                requester: Party::Admits(request.requester),
                ..OrderFilter::all(OrderKind::Workerpool)
            };
            text = match place {
                None => {
                    let count = book.store.count_open(&filter).await?;
                    format!("{text}; {count} without it")
                }
                Some(place) => {
                    let count = place.count_open(book, &filter).await?;
                    format!("{text} in region {}; {count} without it", place.region())
                }
            };
        }
        texts.push(text);
    }
    Ok(texts.join("; "))
}

/// What chain and book know about four orders.
async fn facts(book: &Book, quartet: &Quartet, unsigned: bool) -> Result<Facts, ApiError> {
    let domain = book.ledger.domain();
    let none = Range { skip: 0, limit: 1 };
    let categories = book.store.categories(CategoryFilter::default(), none).await;
    let (_, categories) = categories.map_err(Error::from)?;
    let (app, dataset, pool, request) =
        (&quartet.app, &quartet.dataset, &quartet.workerpool, &quartet.request);
    let hashes =
        [app.hash(&domain), dataset.hash(&domain), pool.hash(&domain), request.hash(&domain)];
    let mut assets = Vec::new();
    for (kind, address, hash, sign) in [
        (AssetKind::App, app.app, hashes[0], &app.sign),
        (AssetKind::Dataset, dataset.dataset, hashes[1], &dataset.sign),
        (AssetKind::Workerpool, pool.workerpool, hashes[2], &pool.sign),
    ] {
        let owner = match address {
            Address::ZERO => None,
            address => book.memory.owner(kind, address).await?,
        };
        let signed = match owner {
            Some(owner) => book.memory.is_signed_by(owner, hash, sign).await?,
            None => false,
        };
        assets.push(AssetFacts { owner, registered: owner.is_some(), signed });
    }
    let nothing = AssetFacts { owner: None, registered: false, signed: false };
    let [app, dataset, workerpool] = <[_; 3]>::try_from(assets).unwrap_or([nothing; 3]);
    let requester = request.requester;
    let request_signed =
        unsigned || book.memory.is_signed_by(requester, hashes[3], &request.sign).await?;
    let owner = workerpool.owner.unwrap_or_default();
    Ok(Facts {
        categories: U256::from(categories),
        app,
        dataset,
        workerpool,
        request_signed,
        consumed: Consumed {
            app: book.memory.consumed(hashes[0]).await?,
            dataset: book.memory.consumed(hashes[1]).await?,
            workerpool: book.memory.consumed(hashes[2]).await?,
            request: book.memory.consumed(hashes[3]).await?,
        },
        // No policy makes the contract refuse, so it need not be asked.
        policy: PoolPolicy {
            worker_stake_percent: U256::ZERO,
            scheduler_reward_percent: U256::ZERO,
        },
        members: BTreeSet::new(),
        funds: Some(Funds {
            payer: book.memory.stake(requester).await?,
            scheduler: book.memory.stake(owner).await?,
            same_account: owner == requester,
        }),
    })
}

fn hashes(book: &Book, quartet: &Quartet) -> OfferHashes {
    let domain = book.ledger.domain();
    let hash = |hash: OrderHash| -> B256 { hash.0 };
    OfferHashes {
        app: hash(quartet.app.hash(&domain)),
        dataset: quartet.has_dataset().then(|| hash(quartet.dataset.hash(&domain))),
        workerpool: hash(quartet.workerpool.hash(&domain)),
    }
}

fn matched(quartet: &Quartet, offers: Option<OfferHashes>) -> Why {
    let per_task = [quartet.app.price, quartet.dataset.price, quartet.workerpool.price]
        .into_iter()
        .fold(U256::ZERO, U256::saturating_add);
    Why {
        matches: true,
        code: None,
        what: format!("it can be matched, for {per_task} nRLC per task"),
        remedies: Vec::new(),
        offers,
    }
}

fn used_up(status: Status) -> Why {
    let (what, text) = match status {
        Status::Canceled => ("its owner has closed the order", "sign another request order"),
        _ => ("all of its volume is matched already", "sign another request order"),
    };
    Why {
        matches: false,
        code: Some("0x60".to_owned()),
        what: what.to_owned(),
        remedies: vec![Remedy { text: text.to_owned(), ..Remedy::default() }],
        offers: None,
    }
}

/// The book took it for dead, and it could be matched again.
fn died(offers: Option<OfferHashes>) -> Why {
    Why {
        matches: false,
        code: Some("not-open".to_owned()),
        what: "the order could not be matched at some time, so the book does not offer it any more"
            .to_owned(),
        remedies: vec![Remedy {
            text: "publish the same order again".to_owned(),
            offers: offers.clone(),
            ..Remedy::default()
        }],
        offers,
    }
}

fn hopeless(request: &RequestOrder, no_way: NoWay) -> Why {
    let (code, what, text) = match no_way {
        NoWay::NoOffer(OrderKind::Workerpool) => (
            "no-workerpoolorder",
            "the book has no offer of computing for this requester".to_owned(),
            "wait for a workerpool to publish one, or run one: gristmill up".to_owned(),
        ),
        NoWay::NoOffer(kind) => {
            let asset = if kind == OrderKind::App { request.app } else { request.dataset };
            (
                if kind == OrderKind::App { "no-apporder" } else { "no-datasetorder" },
                format!("the book has no open offer of {kind} {asset} for this requester"),
                format!("ask the owner of {asset} to publish one"),
            )
        }
        NoWay::Restricted => (
            "restricted",
            "there are offers, but their owners restrict them to others".to_owned(),
            "ask the owners for orders without these restrictions".to_owned(),
        ),
    };
    Why {
        matches: false,
        code: Some(code.to_owned()),
        what,
        remedies: vec![Remedy { text, ..Remedy::default() }],
        offers: None,
    }
}

fn remedy(request: &RequestOrder, changes: &[why::Change], offers: Option<OfferHashes>) -> Remedy {
    let texts: Vec<_> = changes.iter().map(ToString::to_string).collect();
    Remedy {
        text: texts.join(" and "),
        change: difference(request, &why::changed(request, changes)),
        offers,
        besides: false,
    }
}

/// The fields in which two requests differ, as they are in the second.
fn difference(before: &RequestOrder, after: &RequestOrder) -> Map<String, Value> {
    let fields = |order: &RequestOrder| match Order::from(order.clone()).to_json() {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let before = fields(before);
    let changed = |(name, value): &(String, Value)| before.get(name) != Some(value);
    fields(after).into_iter().filter(changed).collect()
}

fn told(refusal: &Refusal) -> Remedy {
    Remedy { text: refusal.remedy.clone(), ..Remedy::default() }
}

fn app_order(row: OrderRow) -> Option<AppOrder> {
    match rows::to_order(row) {
        Order::App(order) => Some(order),
        _ => None,
    }
}

fn dataset_order(row: OrderRow) -> Option<DatasetOrder> {
    match rows::to_order(row) {
        Order::Dataset(order) => Some(order),
        _ => None,
    }
}

fn pool_order(row: OrderRow) -> Option<WorkerpoolOrder> {
    match rows::to_order(row) {
        Order::Workerpool(order) => Some(order),
        _ => None,
    }
}
