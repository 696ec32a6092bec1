//! The check of a receipt.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable as _;
use alloy_trie::TrieAccount;
use orders::{AppOrder, DatasetOrder, Domain, OrderKind, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{DealId, OrderHash, TaskId};

use crate::block::{Entry, Head, Outcome, call_data};
use crate::file::{Claims, Evidence, Fate, Receipt, Transaction};
use crate::layout::Kept;
use crate::story::{About, Matched, Story};
use crate::{Refused, trie};

/// The headers that a receipt may have, all segments together: some hours of a quick chain.
const HEADERS_MAX: usize = 65_536;

/// What a receipt shows, given that the hashes are trusted and the hub is the market's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The whole file. Its claims are proven.
    pub receipt: Receipt,
    /// The blocks that it hangs on, all trusted.
    pub anchors: Vec<Anchor>,
    /// When the deal was made and when the task ended, as the blocks say, in seconds since 1970.
    pub from_to: (u64, u64),
    /// What is known of each order's signature.
    pub signatures: Vec<(OrderKind, SignedBy)>,
    /// Whether there were no contributions but these.
    pub complete: bool,
}

/// A block that a receipt hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time, in seconds since 1970.
    pub timestamp: u64,
}

/// What is known of an order's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedBy {
    /// It came with the deal, and is that account's over the order's hash. That the account owned the asset then is the
    /// hub's word; that the requester is who the request names was checked here.
    Account(Address),
    /// It came with the deal and is nobody's that can be told offline: a contract's (ERC-1271), or not needed since the
    /// order was signed on the chain before. The hub took it.
    Contract,
    /// It is not shown. The hub took it.
    NotShown,
}

/// Checks a file: everything in it, and that it hangs on trusted blocks.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify(bytes: &[u8], trusted: &[B256]) -> Result<Verified, Refused> {
    let receipt = Receipt::read(bytes)?;
    let checked = Checked::of(&receipt.evidence)?;
    if checked.claims != receipt.claims {
        return Err(Refused::OtherClaims);
    }
    let strange = checked.anchors.iter().find(|anchor| !trusted.contains(&anchor.hash));
    if let Some(Anchor { number, hash, .. }) = strange {
        return Err(Refused::Untrusted { number: *number, hash: *hash });
    }
    let Checked { anchors, from_to, signatures, complete, .. } = checked;
    Ok(Verified { receipt, anchors, from_to, signatures, complete })
}

/// The blocks that a file hangs on: whoever can ask a node, asks it for these.
///
/// # Errors
/// If the file or a header cannot be read.
pub fn anchors(bytes: &[u8]) -> Result<Vec<Anchor>, Refused> {
    Ok(Chains::of(&Receipt::read(bytes)?.evidence)?.anchors)
}

/// What evidence shows, if its blocks are believed.
///
/// # Errors
/// The first thing that does not hold.
pub fn claims(evidence: &Evidence) -> Result<Claims, Refused> {
    Checked::of(evidence).map(|checked| checked.claims)
}

struct Checked {
    claims: Claims,
    anchors: Vec<Anchor>,
    from_to: (u64, u64),
    signatures: Vec<(OrderKind, SignedBy)>,
    complete: bool,
}

impl Checked {
    fn of(evidence: &Evidence) -> Result<Self, Refused> {
        let task = ids(evidence)?;
        let chains = Chains::of(evidence)?;
        let told = Told::of(evidence, task, &chains)?;
        let Told { story, made_by, from_to } = told;
        let matched = story.matched.ok_or(Refused::NoDeal)?;
        let end = evidence.first_index.checked_add(matched.volume);
        if end.is_none_or(|end| evidence.index >= end) {
            return Err(Refused::Ids("the deal has no task of that index"));
        }
        let signatures = orders(evidence, &matched, made_by.as_ref())?;
        let fate = story.ended()?;
        let complete = match kept(evidence, task, &chains)? {
            None => false,
            Some(kept) => {
                let as_told = (kept.completed, kept.failed)
                    == (fate == Fate::Completed, fate == Fate::Failed);
                let all = usize::try_from(kept.contributions) == Ok(story.contributions.len());
                if !as_told || !all {
                    return Err(Refused::Story("the hub keeps another story of the task"));
                }
                true
            }
        };
        let claims = Claims {
            volume: matched.volume,
            task: task.0,
            fate,
            contributions: story.contributions,
            consensus: story.consensus,
            digest: story.digest,
            results_text: std::str::from_utf8(&story.results).ok().map(str::to_owned),
            results: story.results,
            payments: story.payments,
        };
        Ok(Self { claims, anchors: chains.anchors, from_to, signatures, complete })
    }
}

/// The task, if it follows from the deal and that from the request.
fn ids(evidence: &Evidence) -> Result<TaskId, Refused> {
    let domain = Domain { chain_id: evidence.chain_id, hub: evidence.hub };
    let request = RequestOrder::from(&evidence.orders.request).hash(&domain);
    if orders::deal_id(request, evidence.first_index) != DealId(evidence.deal) {
        return Err(Refused::Ids("the deal's id does not follow from the request order"));
    }
    if evidence.index < evidence.first_index {
        return Err(Refused::Ids("the deal has no task of that index"));
    }
    Ok(orders::task_id(DealId(evidence.deal), evidence.index))
}

/// All headers, each checked to be the parent of the next.
struct Chains {
    heads: Vec<Head>,
    anchors: Vec<Anchor>,
}

impl Chains {
    fn of(evidence: &Evidence) -> Result<Self, Refused> {
        let count: usize = evidence.segments.iter().map(|segment| segment.headers.len()).sum();
        if count > HEADERS_MAX {
            return Err(Refused::Header("there are too many of them"));
        }
        let (mut heads, mut anchors): (Vec<Head>, Vec<Anchor>) = (Vec::new(), Vec::new());
        for segment in &evidence.segments {
            let mut parent: Option<Head> = None;
            for encoded in &segment.headers {
                let head = Head::read(encoded)?;
                let follows = parent.is_none_or(|parent| parent.hash == head.parent);
                // Segments follow one another too, with a gap between them.
                let later = heads.last().is_none_or(|last| last.number < head.number);
                if !follows || !later {
                    return Err(Refused::Broken(head.number));
                }
                heads.push(head);
                parent = Some(head);
            }
            let last = parent.ok_or(Refused::Header("a segment has none"))?;
            anchors.push(Anchor {
                number: last.number,
                hash: last.hash,
                timestamp: last.timestamp,
            });
        }
        Ok(Self { heads, anchors })
    }

    fn at(&self, number: u64) -> Option<&Head> {
        let place = self.heads.binary_search_by_key(&number, |head| head.number).ok()?;
        self.heads.get(place)
    }
}

/// What the transactions' receipts tell.
struct Told {
    story: Story,
    /// What the transaction that made the deal handed in, if that is shown.
    made_by: Option<Bytes>,
    from_to: (u64, u64),
}

impl Told {
    fn of(evidence: &Evidence, task: TaskId, chains: &Chains) -> Result<Self, Refused> {
        let mut story = Story::new(evidence.deal, task);
        let (mut made_by, mut last, mut made_at, mut ended_at) = (None, None, 0, 0);
        for transaction in &evidence.transactions {
            let place = (transaction.block, transaction.index);
            let what = format!("transaction {} of block {}", place.1, place.0);
            if last.is_some_and(|last| last >= place) {
                return Err(Refused::Idle(what));
            }
            last = Some(place);
            let head = chains.at(place.0).ok_or_else(|| Refused::Unproven(what.clone()))?;
            let (mut of_deal, mut of_task) = (false, false);
            for log in entry(head, transaction, &what)?.logs {
                if log.address == evidence.hub {
                    let about = story.hear(&log)?;
                    of_deal |= about == About::Deal;
                    of_task |= about == About::Task;
                }
            }
            let needless = transaction.transaction.is_some() && !of_deal;
            if needless || !(of_deal || of_task) {
                return Err(Refused::Idle(what));
            }
            if of_deal {
                made_by = handed_in(head, transaction, &what)?;
                made_at = head.timestamp;
            }
            ended_at = head.timestamp;
        }
        Ok(Self { story, made_by, from_to: (made_at, ended_at) })
    }
}

fn entry(head: &Head, transaction: &Transaction, what: &str) -> Result<Entry, Refused> {
    let path = trie::index_path(usize::try_from(transaction.index).unwrap_or(usize::MAX));
    let found = trie::value(head.receipts_root, &path, &transaction.receipt, what)?;
    let found = found.ok_or_else(|| Refused::Unproven(what.to_owned()))?;
    let entry = Entry::read(&found).ok_or_else(|| Refused::Garbled(what.to_owned()))?;
    match entry.outcome {
        Outcome::Status(false) => Err(Refused::Idle(what.to_owned())),
        _ => Ok(entry),
    }
}

fn handed_in(head: &Head, transaction: &Transaction, what: &str) -> Result<Option<Bytes>, Refused> {
    let Some(proof) = &transaction.transaction else { return Ok(None) };
    let path = trie::index_path(usize::try_from(transaction.index).unwrap_or(usize::MAX));
    let found = trie::value(head.transactions_root, &path, proof, what)?;
    let found = found.ok_or_else(|| Refused::Unproven(what.to_owned()))?;
    let (_, data) = call_data(&found).ok_or_else(|| Refused::Garbled(what.to_owned()))?;
    Ok(Some(data))
}

/// What the hub keeps of the task, if that is shown.
fn kept(evidence: &Evidence, task: TaskId, chains: &Chains) -> Result<Option<Kept>, Refused> {
    let Some(state) = &evidence.state else { return Ok(None) };
    let last = chains.heads.last().ok_or(Refused::Header("there is none"))?;
    let what = "the hub's account";
    let account =
        trie::value(last.state_root, &trie::hashed_path(evidence.hub), &state.account, what)?;
    let account = account.ok_or_else(|| Refused::Unproven(what.to_owned()))?;
    let account = TrieAccount::decode(&mut account.as_slice())
        .map_err(|_| Refused::Garbled(what.to_owned()))?;
    let what = "the hub's word on the task";
    let slots = state.layout.slots(task);
    if slots.len() != state.slots.len() {
        return Err(Refused::Unproven(what.to_owned()));
    }
    let mut words = Vec::with_capacity(slots.len());
    for (slot, proof) in slots.iter().zip(&state.slots) {
        let path = trie::hashed_path(slot.to_be_bytes::<32>());
        let word = trie::value(account.storage_root, &path, proof, what)?;
        let word = word.map(|word| U256::decode(&mut word.as_slice())).transpose();
        words.push(word.map_err(|_| Refused::Garbled(what.to_owned()))?.unwrap_or_default());
    }
    let kept = state.layout.read(&words);
    kept.map(Some).ok_or_else(|| Refused::Unproven(what.to_owned()))
}

/// Holds the orders against the hashes that the hub said, and their signatures against what was handed in.
fn orders(
    evidence: &Evidence,
    matched: &Matched,
    made_by: Option<&Bytes>,
) -> Result<Vec<(OrderKind, SignedBy)>, Refused> {
    let domain = Domain { chain_id: evidence.chain_id, hub: evidence.hub };
    let quartet = Quartet::from(&evidence.orders);
    let Quartet { app, dataset, workerpool, request } = &quartet;
    let mut each = vec![
        (OrderKind::App, app.hash(&domain), matched.app, encoded::app(app), &app.sign),
        (
            OrderKind::Workerpool,
            workerpool.hash(&domain),
            matched.workerpool,
            encoded::workerpool(workerpool),
            &workerpool.sign,
        ),
        (
            OrderKind::Request,
            request.hash(&domain),
            matched.request,
            encoded::request(request),
            &request.sign,
        ),
    ];
    if evidence.orders.dataset.is_some() {
        let (hash, data) = (dataset.hash(&domain), encoded::dataset(dataset));
        each.insert(1, (OrderKind::Dataset, hash, matched.dataset, data, &dataset.sign));
    } else if !matched.dataset.is_zero() {
        return Err(Refused::OtherOrder(OrderKind::Dataset));
    }
    let mut signatures = Vec::with_capacity(each.len());
    for (kind, hash, said, data, sign) in each {
        if hash != OrderHash(said) {
            return Err(Refused::OtherOrder(kind));
        }
        let signed = signed(kind, hash, sign, &data, made_by)?;
        if let (OrderKind::Request, SignedBy::Account(account)) = (kind, signed)
            && account != request.requester
        {
            // Then it is not the signature that counted.
            signatures.push((kind, SignedBy::Contract));
            continue;
        }
        signatures.push((kind, signed));
    }
    Ok(signatures)
}

/// A signature is shown only if it was handed in with the order: then, as part of the very bytes.
fn signed(
    kind: OrderKind,
    hash: OrderHash,
    sign: &[u8],
    order: &[u8],
    made_by: Option<&Bytes>,
) -> Result<SignedBy, Refused> {
    let shown = made_by.is_some_and(|data| {
        // Words of the ABI lie at multiples of 32 behind a selector, or behind those of a call within a call.
        data.windows(order.len()).any(|window| window == order)
    });
    match (shown, sign.is_empty()) {
        (true, _) => Ok(match orders::recover(hash.0, sign) {
            Ok(account) => SignedBy::Account(account),
            Err(_) => SignedBy::Contract,
        }),
        (false, true) => Ok(SignedBy::NotShown),
        (false, false) => Err(Refused::OtherSignature(kind)),
    }
}

/// Orders as calls to a hub carry them.
mod encoded {
    use alloy_sol_types::SolValue;

    use super::{AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder};

    mod abi {
        alloy_sol_types::sol! {
            struct AppOrder {
                address app; uint256 appprice; uint256 volume; bytes32 tag; address datasetrestrict;
                address workerpoolrestrict; address requesterrestrict; bytes32 salt; bytes sign;
            }
            struct DatasetOrder {
                address dataset; uint256 datasetprice; uint256 volume; bytes32 tag; address apprestrict;
                address workerpoolrestrict; address requesterrestrict; bytes32 salt; bytes sign;
            }
            struct WorkerpoolOrder {
                address workerpool; uint256 workerpoolprice; uint256 volume; bytes32 tag; uint256 category; uint256 trust;
                address apprestrict; address datasetrestrict; address requesterrestrict; bytes32 salt; bytes sign;
            }
            struct RequestOrder {
                address app; uint256 appmaxprice; address dataset; uint256 datasetmaxprice; address workerpool;
                uint256 workerpoolmaxprice; address requester; uint256 volume; bytes32 tag; uint256 category; uint256 trust;
                address beneficiary; address callback; string params; bytes32 salt; bytes sign;
            }
        }
    }

    /// Without the offset that stands before a lone value.
    fn body(encoded: &[u8]) -> Vec<u8> {
        encoded.get(32..).unwrap_or_default().to_vec()
    }

    pub(super) fn app(order: &AppOrder) -> Vec<u8> {
        let shape = abi::AppOrder {
            app: order.app,
            appprice: order.price,
            volume: order.volume,
            tag: order.tag.0,
            datasetrestrict: order.dataset_restrict,
            workerpoolrestrict: order.workerpool_restrict,
            requesterrestrict: order.requester_restrict,
            salt: order.salt,
            sign: order.sign.clone(),
        };
        body(&shape.abi_encode())
    }

    pub(super) fn dataset(order: &DatasetOrder) -> Vec<u8> {
        let shape = abi::DatasetOrder {
            dataset: order.dataset,
            datasetprice: order.price,
            volume: order.volume,
            tag: order.tag.0,
            apprestrict: order.app_restrict,
            workerpoolrestrict: order.workerpool_restrict,
            requesterrestrict: order.requester_restrict,
            salt: order.salt,
            sign: order.sign.clone(),
        };
        body(&shape.abi_encode())
    }

    pub(super) fn workerpool(order: &WorkerpoolOrder) -> Vec<u8> {
        let shape = abi::WorkerpoolOrder {
            workerpool: order.workerpool,
            workerpoolprice: order.price,
            volume: order.volume,
            tag: order.tag.0,
            category: order.category,
            trust: order.trust,
            apprestrict: order.app_restrict,
            datasetrestrict: order.dataset_restrict,
            requesterrestrict: order.requester_restrict,
            salt: order.salt,
            sign: order.sign.clone(),
        };
        body(&shape.abi_encode())
    }

    pub(super) fn request(order: &RequestOrder) -> Vec<u8> {
        let shape = abi::RequestOrder {
            app: order.app,
            appmaxprice: order.app_max_price,
            dataset: order.dataset,
            datasetmaxprice: order.dataset_max_price,
            workerpool: order.workerpool,
            workerpoolmaxprice: order.workerpool_max_price,
            requester: order.requester,
            volume: order.volume,
            tag: order.tag.0,
            category: order.category,
            trust: order.trust,
            beneficiary: order.beneficiary,
            callback: order.callback,
            params: order.params.clone(),
            salt: order.salt,
            sign: order.sign.clone(),
        };
        body(&shape.abi_encode())
    }
}
