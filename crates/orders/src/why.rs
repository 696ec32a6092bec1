//! What a requester would have to change for an order of theirs to be matched.
//!
//! [`least_change`] looks at every way to put offers together with a request and finds the one that needs the least: the
//! fewest changes, of those the mildest, of those the cheapest. Only the request is changed, because only that is the
//! requester's; offers that no change of the request would let in are left out.
//!
//! What is not here: what only a chain knows (signatures, stakes, groups of addresses, volume used), which
//! [`crate::matching::check`] judges for a given quartet.

use std::fmt;

use alloy_primitives::{Address, U256};
use primitives::Tag;

use crate::matching::{DATASET_IGNORES, tag_names};
use crate::{AppOrder, DatasetOrder, OrderKind, Quartet, RequestOrder, WorkerpoolOrder};

/// One change of a request order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Pay more for the app, the dataset or the computing.
    RaiseMaxPrice {
        /// For which of them.
        of: OrderKind,
        /// The most to pay now, in nRLC per task.
        from: U256,
        /// What it costs, in nRLC per task.
        to: U256,
    },
    /// Want less agreement.
    LowerTrust {
        /// What is wanted.
        from: U256,
        /// What is on offer.
        to: U256,
    },
    /// Go to another workerpool than the one named.
    SetWorkerpool {
        /// The other one.
        to: Address,
    },
    /// Demand less.
    DropDemands {
        /// What to do without.
        tag: Tag,
    },
    /// Want a task of another length.
    SetCategory {
        /// What is wanted.
        from: U256,
        /// What is on offer.
        to: U256,
    },
}

impl Change {
    /// Makes the change.
    pub fn apply(self, request: &mut RequestOrder) {
        match self {
            Self::RaiseMaxPrice { of, to, .. } => match of {
                OrderKind::App => request.app_max_price = to,
                OrderKind::Dataset => request.dataset_max_price = to,
                OrderKind::Workerpool | OrderKind::Request => request.workerpool_max_price = to,
            },
            Self::LowerTrust { to, .. } => request.trust = to,
            Self::SetWorkerpool { to } => request.workerpool = to,
            Self::DropDemands { tag } => request.tag = request.tag & !tag,
            Self::SetCategory { to, .. } => request.category = to,
        }
    }

    /// What is wrong, in a few words.
    pub fn obstacle(self) -> String {
        match self {
            Self::RaiseMaxPrice { of, from, to } => {
                format!("{of}maxprice {from} nRLC is too low by {}", to.saturating_sub(from))
            }
            Self::LowerTrust { from, to } => {
                format!("trust {from} is wanted and at most {to} is on offer")
            }
            Self::SetWorkerpool { .. } => "the workerpool named makes no such offer".to_owned(),
            Self::DropDemands { tag } => format!("no such offer with tag {}", tag_names(tag)),
            Self::SetCategory { from, .. } => format!("no such offer in category {from}"),
        }
    }

    /// How mild a change is; the mildest is 0.
    fn weight(self) -> u8 {
        match self {
            Self::RaiseMaxPrice { .. } => 0,
            Self::LowerTrust { .. } => 1,
            Self::SetWorkerpool { .. } => 2,
            Self::DropDemands { .. } => 3,
            Self::SetCategory { .. } => 4,
        }
    }

    fn price_rise(self) -> U256 {
        match self {
            Self::RaiseMaxPrice { from, to, .. } => to.saturating_sub(from),
            _ => U256::ZERO,
        }
    }
}

/// The change as an instruction.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RaiseMaxPrice { of, from, to } => {
                let more = to.saturating_sub(*from);
                write!(f, "raise {of}maxprice by {more} to {to} nRLC")
            }
            Self::LowerTrust { to, .. } => write!(f, "lower trust to {to}"),
            Self::SetWorkerpool { to } => write!(f, "set workerpool to {to}, or to none"),
            Self::DropDemands { tag } => write!(f, "do without tag {}", tag_names(*tag)),
            Self::SetCategory { to, .. } => write!(f, "set category to {to}"),
        }
    }
}

/// Offers that a request may be put together with.
#[derive(Debug, Clone, Copy)]
pub struct Offers<'a> {
    /// Of the app.
    pub apps: &'a [AppOrder],
    /// Of the dataset; not looked at when the request wants none.
    pub datasets: &'a [DatasetOrder],
    /// Of computing.
    pub workerpools: &'a [WorkerpoolOrder],
}

/// A way to a deal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which of the app's offers.
    pub app: usize,
    /// Which of the dataset's; nothing when the request wants none.
    pub dataset: Option<usize>,
    /// Which of the workerpools'.
    pub workerpool: usize,
    /// What must change in the request; empty when nothing must.
    pub changes: Vec<Change>,
}

/// Why there is no way at all, whatever the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWay {
    /// Nothing of that kind is on offer.
    NoOffer(OrderKind),
    /// What is on offer is restricted to others, or does not go together.
    Restricted,
}

/// The ways to a deal that need the least, best first: one for each kind of change, at most `most`.
pub fn least_change(
    request: &RequestOrder,
    offers: Offers<'_>,
    most: usize,
) -> Result<Vec<Way>, NoWay> {
    let none = [DatasetOrder::none()];
    let wants_dataset = !request.dataset.is_zero();
    let datasets = if wants_dataset { offers.datasets } else { &none };
    let on_offer = [
        (OrderKind::App, offers.apps.is_empty()),
        (OrderKind::Dataset, datasets.is_empty()),
        (OrderKind::Workerpool, offers.workerpools.is_empty()),
    ];
    if let Some((kind, _)) = on_offer.into_iter().find(|(_, empty)| *empty) {
        return Err(NoWay::NoOffer(kind));
    }
    let mut best: Vec<(Vec<u8>, Way)> = Vec::new();
    for (app, app_order) in offers.apps.iter().enumerate() {
        for (dataset, dataset_order) in datasets.iter().enumerate() {
            for (workerpool, pool) in offers.workerpools.iter().enumerate() {
                let Some(changes) = changes(request, app_order, dataset_order, pool) else {
                    continue;
                };
                let dataset = wants_dataset.then_some(dataset);
                note(&mut best, Way { app, dataset, workerpool, changes });
            }
        }
    }
    if best.is_empty() {
        return Err(NoWay::Restricted);
    }
    let mut ways: Vec<_> = best.into_iter().map(|(_, way)| way).collect();
    ways.sort_by_key(cost);
    // Whoever need not change anything does not care for other ways.
    let enough = if ways.first().is_some_and(|way| way.changes.is_empty()) { 1 } else { most };
    ways.truncate(enough);
    Ok(ways)
}

/// What must change in a request for it to match these offers; nothing if no change of the request suffices.
pub fn changes(
    request: &RequestOrder,
    app: &AppOrder,
    dataset: &DatasetOrder,
    pool: &WorkerpoolOrder,
) -> Option<Vec<Change>> {
    if request.app != app.app || request.dataset != dataset.dataset {
        return None;
    }
    if !admit_each_other(request, app, dataset, pool) {
        return None;
    }
    let mut changes = price_changes(request, app, dataset, pool);
    if request.trust > pool.trust {
        changes.push(Change::LowerTrust { from: request.trust, to: pool.trust });
    }
    if !admits(request.workerpool, pool.workerpool) {
        changes.push(Change::SetWorkerpool { to: pool.workerpool });
    }
    let too_much = demands_to_drop(request, app, dataset, pool)?;
    if too_much != Tag::NONE {
        changes.push(Change::DropDemands { tag: too_much });
    }
    if request.category != pool.category {
        changes.push(Change::SetCategory { from: request.category, to: pool.category });
    }
    Some(changes)
}

/// The request after the changes.
pub fn changed(request: &RequestOrder, changes: &[Change]) -> RequestOrder {
    let mut request = request.clone();
    changes.iter().for_each(|change| change.apply(&mut request));
    request
}

/// The four orders of a way, with the request changed.
pub fn quartet(request: &RequestOrder, offers: Offers<'_>, way: &Way) -> Option<Quartet> {
    let dataset = match way.dataset {
        Some(at) => offers.datasets.get(at)?.clone(),
        None => DatasetOrder::none(),
    };
    Some(Quartet {
        app: offers.apps.get(way.app)?.clone(),
        dataset,
        workerpool: offers.workerpools.get(way.workerpool)?.clone(),
        request: changed(request, &way.changes),
    })
}

/// Keeps the way if it is the best of those that change the same things.
fn note(best: &mut Vec<(Vec<u8>, Way)>, way: Way) {
    let kinds: Vec<_> = way.changes.iter().map(|change| change.weight()).collect();
    match best.iter_mut().find(|(known, _)| *known == kinds) {
        Some((_, known)) if cost(&way) < cost(known) => *known = way,
        Some(_) => {}
        None => best.push((kinds, way)),
    }
}

fn cost(way: &Way) -> (usize, u32, U256) {
    let weight = way.changes.iter().map(|change| u32::from(change.weight())).sum();
    let rise =
        way.changes.iter().fold(U256::ZERO, |sum, change| sum.saturating_add(change.price_rise()));
    (way.changes.len(), weight, rise)
}

fn price_changes(
    request: &RequestOrder,
    app: &AppOrder,
    dataset: &DatasetOrder,
    pool: &WorkerpoolOrder,
) -> Vec<Change> {
    let prices = [
        (OrderKind::App, request.app_max_price, app.price),
        (OrderKind::Dataset, request.dataset_max_price, dataset.price),
        (OrderKind::Workerpool, request.workerpool_max_price, pool.price),
    ];
    let too_low = prices.into_iter().filter(|(_, most, price)| most < price);
    too_low.map(|(of, from, to)| Change::RaiseMaxPrice { of, from, to }).collect()
}

fn admit_each_other(
    request: &RequestOrder,
    app: &AppOrder,
    dataset: &DatasetOrder,
    pool: &WorkerpoolOrder,
) -> bool {
    let rules = [
        (app.dataset_restrict, dataset.dataset),
        (app.workerpool_restrict, pool.workerpool),
        (app.requester_restrict, request.requester),
        (dataset.app_restrict, app.app),
        (dataset.workerpool_restrict, pool.workerpool),
        (dataset.requester_restrict, request.requester),
        (pool.app_restrict, app.app),
        (pool.dataset_restrict, dataset.dataset),
        (pool.requester_restrict, request.requester),
    ];
    rules.into_iter().all(|(allowed, actual)| admits(allowed, actual))
}

fn admits(allowed: Address, actual: Address) -> bool {
    allowed.is_zero() || allowed == actual
}

/// Which of the request's demands the offers do not meet; nothing if they do not even meet each other's.
fn demands_to_drop(
    request: &RequestOrder,
    app: &AppOrder,
    dataset: &DatasetOrder,
    pool: &WorkerpoolOrder,
) -> Option<Tag> {
    let theirs = app.tag | (dataset.tag & !DATASET_IGNORES);
    let enclave_missing = !app.tag.contains(Tag::TEE);
    if !pool.tag.contains(theirs) || (theirs.contains(Tag::TEE) && enclave_missing) {
        return None;
    }
    let enclave = if enclave_missing { Tag::TEE } else { Tag::NONE };
    Some(request.tag & (!pool.tag | enclave))
}

#[cfg(test)]
mod tests;
