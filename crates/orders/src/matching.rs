//! Whether four orders make a deal, checked in the contract's order and named by the contract's codes.
//!
//! [`check`] is a pure function: everything that only a chain knows comes in as [`Facts`]. A [`Refusal`] carries the code
//! with which the hub would revert (`iExecV5-matchOrders-0xNN`), what is wrong, and the smallest change that mends it.

use std::collections::BTreeSet;
use std::fmt;

use alloy_primitives::{Address, U256};
use primitives::{Nrlc, Tag};

use crate::{OrderKind, Quartet};

/// The share of the workerpool's price that its owner locks per task, in percent.
pub const POOL_STAKE_PERCENT: u64 = 30;

/// What the chain says about an asset and its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetFacts {
    /// What its `owner()` answers; nothing if it is not a contract with an owner.
    pub owner: Option<Address>,
    /// Whether the registry knows it.
    pub registered: bool,
    /// Whether the order carries the owner's signature or is signed on chain by the owner.
    pub signed: bool,
}

/// How many tasks of each order are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consumed {
    /// Of the app order.
    pub app: U256,
    /// Of the dataset order.
    pub dataset: U256,
    /// Of the workerpool order.
    pub workerpool: U256,
    /// Of the request order.
    pub request: U256,
}

/// The workerpool's policy, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPolicy {
    /// A worker's stake per task, as a share of the workerpool's price; the contract sets no upper bound.
    pub worker_stake_percent: U256,
    /// The scheduler's share of the workerpool's price, at most 100.
    pub scheduler_reward_percent: U256,
}

/// Free balances in the hub, when the locks are to be checked too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Of the payer (the requester, or the sponsor).
    pub payer: Nrlc,
    /// Of the workerpool's owner.
    pub scheduler: Nrlc,
    /// Whether payer and workerpool owner are one account, so that both locks come out of one balance.
    pub same_account: bool,
}

/// Everything a chain must be asked before a match can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// How many categories exist.
    pub categories: U256,
    /// About the app.
    pub app: AssetFacts,
    /// About the dataset; not looked at without one.
    pub dataset: AssetFacts,
    /// About the workerpool.
    pub workerpool: AssetFacts,
    /// Whether the request is signed by its requester.
    pub request_signed: bool,
    /// What is used up.
    pub consumed: Consumed,
    /// The pool's policy.
    pub policy: PoolPolicy,
    /// Pairs (group contract, member) for restrictions that name a group.
    pub members: BTreeSet<(Address, Address)>,
    /// Balances; `None` leaves the locks unchecked.
    pub funds: Option<Funds>,
}

/// What the deal will say. Prices in nRLC per task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The app's owner now.
    pub app_owner: Address,
    /// Paid to them per task.
    pub app_price: Nrlc,
    /// The dataset's owner now; zero without a dataset.
    pub dataset_owner: Address,
    /// Paid to them per task; zero without a dataset.
    pub dataset_price: Nrlc,
    /// The workerpool's owner now.
    pub workerpool_owner: Address,
    /// Paid to workers and scheduler per task.
    pub workerpool_price: Nrlc,
    /// At least 1.
    pub trust: U256,
    /// All demands together.
    pub tag: Tag,
    /// The first task's index in the request order.
    pub first_index: U256,
    /// How many tasks.
    pub volume: U256,
    /// A worker's stake per task.
    pub worker_stake: Nrlc,
    /// The scheduler's share of the workerpool price, in percent.
    pub scheduler_reward_percent: U256,
    /// What the payer locks: all prices times the volume.
    pub payer_lock: Nrlc,
    /// What the workerpool's owner locks.
    pub scheduler_lock: Nrlc,
}

/// The check that failed; prints as the contract's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// One of the contract's numbered checks, `0x00` to `0x60`.
    Number(u8),
    /// An asset without an owner: the contract reverts without a reason.
    NoOwner(OrderKind),
    /// A number outgrows 256 bits: the contract panics.
    Overflow,
    /// Too little in the payer's account.
    PayerFunds,
    /// Too little in the workerpool owner's account.
    SchedulerFunds,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "0x{number:02x}"),
            Self::NoOwner(kind) => write!(f, "no-{kind}-owner"),
            Self::Overflow => f.write_str("overflow"),
            Self::PayerFunds => f.write_str("payer-funds"),
            Self::SchedulerFunds => f.write_str("scheduler-funds"),
        }
    }
}

/// Why there will be no deal, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({code}); {remedy}")]
pub struct Refusal {
    /// The failed check.
    pub code: Code,
    /// What is wrong.
    pub what: String,
    /// The smallest change that mends it.
    pub remedy: String,
}

/// The bits of a dataset's tag that do not count, those of frameworks: a dataset may be used under any.
pub(crate) const DATASET_IGNORES: Tag = {
    let mut bits = [0; 32];
    // 1 Scone, 2 Gramine, 3 TDX.
    bits[31] = 0b1110;
    Tag(alloy_primitives::B256::new(bits))
};

/// What the demands of three orders amount to. The framework bits of a dataset do not count.
pub fn combined_tag(quartet: &Quartet) -> Tag {
    quartet.app.tag | (quartet.dataset.tag & !DATASET_IGNORES) | quartet.request.tag
}

/// The bits of a tag by the names that people know them by, or by their numbers.
pub fn tag_names(tag: Tag) -> String {
    let known = [
        (Tag::TEE, "tee"),
        (Tag::SCONE, "scone"),
        (Tag::GRAMINE, "gramine"),
        (Tag::TDX, "tdx"),
        (Tag::GPU, "gpu"),
    ];
    let name = |bit: u8| {
        let found = known.iter().find(|(tag, _)| *tag == Tag::bit(bit));
        found.map_or_else(|| bit.to_string(), |(_, name)| (*name).to_owned())
    };
    let set = (0..=u8::MAX).filter(|bit| tag.contains(Tag::bit(*bit)));
    set.map(name).collect::<Vec<_>>().join(", ")
}

/// How many tasks the four orders still allow together; nothing if an order is used beyond its volume.
pub fn volume(quartet: &Quartet, consumed: &Consumed) -> Option<U256> {
    let app = quartet.app.volume.checked_sub(consumed.app)?;
    let workerpool = quartet.workerpool.volume.checked_sub(consumed.workerpool)?;
    let request = quartet.request.volume.checked_sub(consumed.request)?;
    let least = app.min(workerpool).min(request);
    if quartet.has_dataset() {
        Some(least.min(quartet.dataset.volume.checked_sub(consumed.dataset)?))
    } else {
        Some(least)
    }
}

/// Judges a match as the hub will, stopping at the first failed check.
pub fn check(quartet: &Quartet, facts: &Facts) -> Result<Terms, Refusal> {
    demands(quartet, facts)?;
    prices(quartet)?;
    tags(quartet)?;
    names(quartet, facts)?;
    restrictions(quartet, facts)?;
    let owners = assets(quartet, facts)?;
    terms(quartet, facts, &owners)
}

fn demands(quartet: &Quartet, facts: &Facts) -> Result<(), Refusal> {
    let (request, pool) = (&quartet.request, &quartet.workerpool);
    require(request.category == pool.category, 0x00, || {
        let what = format!(
            "the request wants category {}, the workerpool offers {}",
            request.category, pool.category
        );
        (what, format!("set the request's category to {}", pool.category))
    })?;
    require(request.category < facts.categories, 0x01, || {
        let what = format!("category {} does not exist", request.category);
        (what, format!("choose a category below {}", facts.categories))
    })?;
    require(request.trust <= pool.trust, 0x02, || {
        let what = format!(
            "the request wants trust {}, the workerpool offers {}",
            request.trust, pool.trust
        );
        (what, format!("lower the request's trust to {}", pool.trust))
    })
}

fn prices(quartet: &Quartet) -> Result<(), Refusal> {
    let request = &quartet.request;
    let bounds = [
        (0x03, OrderKind::App, quartet.app.price, request.app_max_price),
        (0x04, OrderKind::Dataset, quartet.dataset.price, request.dataset_max_price),
        (0x05, OrderKind::Workerpool, quartet.workerpool.price, request.workerpool_max_price),
    ];
    for (code, kind, price, most) in bounds {
        require(price <= most, code, || {
            let what = format!(
                "the {kind} costs {} per task, the request allows {}",
                Nrlc(price),
                Nrlc(most)
            );
            (what, format!("raise {kind} max price by {:?}", Nrlc(price.saturating_sub(most))))
        })?;
    }
    Ok(())
}

fn tags(quartet: &Quartet) -> Result<(), Refusal> {
    let tag = combined_tag(quartet);
    let missing = tag & !quartet.workerpool.tag;
    require(missing == Tag::NONE, 0x06, || {
        let what =
            format!("the workerpool does not offer what is demanded: tag bits {}", bits(missing));
        (what, format!("choose a workerpool whose tag has bits {}", bits(missing)))
    })?;
    require(!tag.contains(Tag::TEE) || quartet.app.tag.contains(Tag::TEE), 0x07, || {
        let what = "a trusted execution environment is demanded, but the app is not made for one"
            .to_owned();
        (
            what,
            "choose an app whose tag has bit 0, or drop bit 0 from the request and dataset"
                .to_owned(),
        )
    })
}

fn names(quartet: &Quartet, facts: &Facts) -> Result<(), Refusal> {
    let request = &quartet.request;
    require(request.app == quartet.app.app, 0x10, || {
        let what = format!(
            "the request is for app {}, the app order for {}",
            request.app, quartet.app.app
        );
        (what, format!("use an order of app {}", request.app))
    })?;
    require(request.dataset == quartet.dataset.dataset, 0x11, || {
        let wanted = request.dataset;
        let what = format!(
            "the request is for dataset {wanted}, the dataset order for {}",
            quartet.dataset.dataset
        );
        (what, format!("use an order of dataset {wanted}"))
    })?;
    restriction(
        facts,
        0x12,
        "request",
        "workerpool",
        request.workerpool,
        quartet.workerpool.workerpool,
    )
}

fn restrictions(quartet: &Quartet, facts: &Facts) -> Result<(), Refusal> {
    let (app, dataset, pool) = (&quartet.app, &quartet.dataset, &quartet.workerpool);
    let requester = quartet.request.requester;
    let rules = [
        (0x13, "app order", "dataset", app.dataset_restrict, dataset.dataset),
        (0x14, "app order", "workerpool", app.workerpool_restrict, pool.workerpool),
        (0x15, "app order", "requester", app.requester_restrict, requester),
        (0x16, "dataset order", "app", dataset.app_restrict, app.app),
        (0x17, "dataset order", "workerpool", dataset.workerpool_restrict, pool.workerpool),
        (0x18, "dataset order", "requester", dataset.requester_restrict, requester),
        (0x19, "workerpool order", "app", pool.app_restrict, app.app),
        (0x1a, "workerpool order", "dataset", pool.dataset_restrict, dataset.dataset),
        (0x1b, "workerpool order", "requester", pool.requester_restrict, requester),
    ];
    rules.into_iter().try_for_each(|(code, order, role, allowed, actual)| {
        restriction(facts, code, order, role, allowed, actual)
    })
}

fn restriction(
    facts: &Facts,
    code: u8,
    order: &str,
    role: &str,
    allowed: Address,
    actual: Address,
) -> Result<(), Refusal> {
    let accepted =
        allowed.is_zero() || allowed == actual || facts.members.contains(&(allowed, actual));
    require(accepted, code, || {
        let what = format!("the {order} is restricted to {role} {allowed}, this one is {actual}");
        (what, format!("use {role} {allowed} or a member of it, or another {order}"))
    })
}

struct Owners {
    app: Address,
    dataset: Address,
    workerpool: Address,
}

fn assets(quartet: &Quartet, facts: &Facts) -> Result<Owners, Refusal> {
    let app = asset(OrderKind::App, 0x20, quartet.app.app, &facts.app)?;
    let dataset = if quartet.has_dataset() {
        asset(OrderKind::Dataset, 0x30, quartet.dataset.dataset, &facts.dataset)?
    } else {
        Address::ZERO
    };
    let workerpool =
        asset(OrderKind::Workerpool, 0x40, quartet.workerpool.workerpool, &facts.workerpool)?;
    require(facts.request_signed, 0x50, || {
        let requester = quartet.request.requester;
        let what = format!("the request order is not signed by its requester {requester}");
        (what, format!("sign the request with the key of {requester}"))
    })?;
    Ok(Owners { app, dataset, workerpool })
}

fn asset(
    kind: OrderKind,
    code: u8,
    address: Address,
    facts: &AssetFacts,
) -> Result<Address, Refusal> {
    let Some(owner) = facts.owner else {
        return Err(Refusal {
            code: Code::NoOwner(kind),
            what: format!("there is no {kind} contract at {address}"),
            remedy: format!("check the {kind}'s address and the chain"),
        });
    };
    require(facts.registered, code, || {
        let what = format!("{kind} {address} is not in the hub's registry");
        (what, format!("create the {kind} through the registry, or check its address"))
    })?;
    require(facts.signed, code + 1, || {
        let what = format!("the {kind} order is not signed by the {kind}'s owner {owner}");
        (what, format!("get a {kind} order signed by {owner}"))
    })?;
    Ok(owner)
}

fn terms(quartet: &Quartet, facts: &Facts, owners: &Owners) -> Result<Terms, Refusal> {
    let volume = volume(quartet, &facts.consumed).ok_or_else(overflow)?;
    require(!volume.is_zero(), 0x60, || used_up(quartet, &facts.consumed))?;
    let dataset_price = if quartet.has_dataset() { quartet.dataset.price } else { U256::ZERO };
    let pool_price = Nrlc(quartet.workerpool.price);
    let (payer_lock, scheduler_lock, worker_stake) =
        locks(quartet.app.price, dataset_price, pool_price, volume, &facts.policy)
            .ok_or_else(overflow)?;
    if let Some(available) = &facts.funds {
        funds(available, payer_lock, scheduler_lock)?;
    }
    Ok(Terms {
        app_owner: owners.app,
        app_price: Nrlc(quartet.app.price),
        dataset_owner: owners.dataset,
        dataset_price: Nrlc(dataset_price),
        workerpool_owner: owners.workerpool,
        workerpool_price: pool_price,
        trust: quartet.request.trust.max(U256::ONE),
        tag: combined_tag(quartet),
        first_index: facts.consumed.request,
        volume,
        worker_stake,
        scheduler_reward_percent: facts.policy.scheduler_reward_percent,
        payer_lock,
        scheduler_lock,
    })
}

/// What payer and scheduler lock, and a worker's stake. Shares are rounded down per task, then multiplied.
fn locks(
    app: U256,
    dataset: U256,
    pool: Nrlc,
    volume: U256,
    policy: &PoolPolicy,
) -> Option<(Nrlc, Nrlc, Nrlc)> {
    let per_task = Nrlc(app).checked_add(Nrlc(dataset))?.checked_add(pool)?;
    let scheduler = percent(pool, U256::from(POOL_STAKE_PERCENT))?;
    let worker = percent(pool, policy.worker_stake_percent)?;
    Some((per_task.checked_mul(volume)?, scheduler.checked_mul(volume)?, worker))
}

fn percent(amount: Nrlc, percent: U256) -> Option<Nrlc> {
    amount.checked_mul(percent).map(|product| Nrlc(product.0 / U256::from(100)))
}

fn funds(available: &Funds, payer_lock: Nrlc, scheduler_lock: Nrlc) -> Result<(), Refusal> {
    let short = |code, who: &str, need: Nrlc, have: Nrlc| Refusal {
        code,
        what: format!("the {who} must lock {need} and has {have} in the hub"),
        remedy: format!("deposit {:?} more", need.saturating_sub(have)),
    };
    if available.payer < payer_lock {
        return Err(short(Code::PayerFunds, "payer", payer_lock, available.payer));
    }
    let left = if available.same_account {
        available.payer.saturating_sub(payer_lock)
    } else {
        available.scheduler
    };
    if left < scheduler_lock {
        return Err(short(Code::SchedulerFunds, "workerpool's owner", scheduler_lock, left));
    }
    Ok(())
}

fn used_up(quartet: &Quartet, consumed: &Consumed) -> (String, String) {
    let orders = [
        (OrderKind::App, quartet.app.volume, consumed.app),
        (OrderKind::Dataset, quartet.dataset.volume, consumed.dataset),
        (OrderKind::Workerpool, quartet.workerpool.volume, consumed.workerpool),
        (OrderKind::Request, quartet.request.volume, consumed.request),
    ];
    let spent: Vec<_> = orders
        .into_iter()
        .filter(|(kind, ..)| *kind != OrderKind::Dataset || quartet.has_dataset())
        .filter(|(_, volume, used)| volume == used)
        .map(|(kind, ..)| kind.as_str())
        .collect();
    let which = spent.join(" and ");
    (format!("the {which} order is used up or closed"), format!("use a fresh {which} order"))
}

fn overflow() -> Refusal {
    Refusal {
        code: Code::Overflow,
        what: "prices times volume do not fit in 256 bits, or an order is used beyond its volume"
            .to_owned(),
        remedy: "lower the volume".to_owned(),
    }
}

fn require(holds: bool, code: u8, why: impl FnOnce() -> (String, String)) -> Result<(), Refusal> {
    if holds {
        return Ok(());
    }
    let (what, remedy) = why();
    Err(Refusal { code: Code::Number(code), what, remedy })
}

fn bits(tag: Tag) -> String {
    let set: Vec<_> = (0..=u8::MAX)
        .filter(|bit| tag.contains(Tag::bit(*bit)))
        .map(|bit| bit.to_string())
        .collect();
    set.join(", ")
}

#[cfg(test)]
mod tests;
