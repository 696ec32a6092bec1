//! What may be asked of the book, and how it is written in a URL.

use std::collections::HashMap;

use alloy_primitives::Address;
use orders::OrderKind;
use primitives::{OrderHash, Tag};
use serde_json::{Map, Value};

use crate::json::{Fields, ShapeError, parse_address, parse_bytes32, parse_whole};

/// The least and most orders on a page, and how many when nothing is said.
const PAGE_SIZE_MIN: u64 = 10;
const PAGE_SIZE_MAX: u64 = 1_000;
const PAGE_SIZE_DEFAULT: u64 = 20;
/// The furthest that anybody may page: beyond it a query costs more than it tells.
const SKIP_MAX: u64 = 1 << 40;

/// Which orders, by one of the parties they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartyFilter {
    /// Whoever they name.
    #[default]
    Any,
    /// Only those that name nobody: open to all.
    Unrestricted,
    /// Those that name nobody or this one.
    Admits(Address),
    /// Only those that name this one.
    Exactly(Address),
}

/// Which part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items to leave out.
    pub skip: u64,
    /// How many to give at most.
    pub limit: u64,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { skip: 0, limit: PAGE_SIZE_DEFAULT }
    }
}

impl PageRequest {
    /// The page of that number, from 0, with so many items (10 to 1,000).
    pub fn new(index: u64, size: u64) -> Self {
        let limit = size.clamp(PAGE_SIZE_MIN, PAGE_SIZE_MAX);
        Self { skip: index.saturating_mul(limit).min(SKIP_MAX), limit }
    }

    /// Only the first few: as few as the API gives.
    pub fn first() -> Self {
        Self::new(0, PAGE_SIZE_MIN)
    }

    /// Where the next page starts, given how many items this one has. A last page that happens to be full has a next
    /// one, which is empty.
    pub(super) fn next(self, items: usize) -> Option<u64> {
        (items as u64 >= self.limit).then(|| self.skip.saturating_add(self.limit))
    }
}

/// Which open orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderQuery {
    /// Of which kind.
    pub kind: OrderKind,
    /// By app.
    pub app: PartyFilter,
    /// By dataset.
    pub dataset: PartyFilter,
    /// By workerpool.
    pub workerpool: PartyFilter,
    /// By requester.
    pub requester: PartyFilter,
    /// Signed by this one; for requests say it by `requester`.
    pub owner: Option<Address>,
    /// With results for this one.
    pub beneficiary: Option<Address>,
    /// Of this category.
    pub category: Option<u64>,
    /// With at least these demands.
    pub min_tag: Option<Tag>,
    /// With no other demands than these.
    pub max_tag: Option<Tag>,
    /// Offering at least that trust.
    pub min_trust: Option<u64>,
    /// Wanting at most that trust.
    pub max_trust: Option<u64>,
    /// Still good for that many tasks.
    pub min_volume: Option<u64>,
    /// Only a dataset's standing permissions for bulk use.
    pub bulk_only: bool,
    /// Which part of them.
    pub page: PageRequest,
}

impl OrderQuery {
    /// All open orders of that kind; only those without restrictions when `unrestricted`.
    pub fn all(kind: OrderKind) -> Self {
        Self {
            kind,
            app: PartyFilter::Any,
            dataset: PartyFilter::Any,
            workerpool: PartyFilter::Any,
            requester: PartyFilter::Any,
            owner: None,
            beneficiary: None,
            category: None,
            min_tag: None,
            max_tag: None,
            min_trust: None,
            max_trust: None,
            min_volume: None,
            bulk_only: false,
            page: PageRequest::default(),
        }
    }

    /// Reads a URL's query, by the official rules of each kind.
    pub(super) fn from_pairs(kind: OrderKind, pairs: &Pairs) -> Result<Self, ShapeError> {
        let mut query = Self { page: pairs.page()?, ..Self::all(kind) };
        for party in PARTIES {
            *query.party_mut(party) = if restricts(kind, party) {
                pairs.restriction(party)?
            } else {
                pairs.subject(party)?
            };
        }
        match kind {
            OrderKind::App => query.owner = pairs.address("appOwner")?,
            OrderKind::Dataset => query.owner = pairs.address("datasetOwner")?,
            OrderKind::Workerpool => query.owner = pairs.address("workerpoolOwner")?,
            OrderKind::Request => query.beneficiary = pairs.address("beneficiary")?,
        }
        for (party, owner) in [(OrderKind::App, "appOwner"), (OrderKind::Dataset, "datasetOwner")] {
            let name = party.as_str();
            if kind == party && pairs.get(name).is_none() && query.owner.is_none() {
                return Err(ShapeError(format!("{name} or {owner} is required")));
            }
        }
        query.min_tag = pairs.bytes32("minTag")?.map(Tag).filter(|tag| *tag != Tag::NONE);
        query.max_tag = pairs.bytes32("maxTag")?.map(Tag);
        query.min_volume = pairs.at_least("minVolume", 1)?;
        if matches!(kind, OrderKind::Workerpool | OrderKind::Request) {
            query.category = pairs.number("category")?;
        }
        match kind {
            OrderKind::App => {}
            OrderKind::Dataset => query.bulk_only = pairs.truth("bulkOnly")?,
            // One worker is enough for any trust up to 1, so asking for it excludes nothing.
            OrderKind::Workerpool => {
                query.min_trust = pairs.number("minTrust")?.filter(|trust| *trust > 1);
            }
            OrderKind::Request => query.max_trust = pairs.number("maxTrust")?,
        }
        Ok(query)
    }

    /// Writes a URL's query that [`Self::from_pairs`] reads as the same.
    pub(super) fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        for party in PARTIES {
            write_party(&mut pairs, self.kind, party, self.party(party));
        }
        let owner = match self.kind {
            OrderKind::App => Some("appOwner"),
            OrderKind::Dataset => Some("datasetOwner"),
            OrderKind::Workerpool => Some("workerpoolOwner"),
            OrderKind::Request => None,
        };
        if let (Some(name), Some(owner)) = (owner, self.owner) {
            pairs.push((name, owner.to_string()));
        }
        let texts = [
            ("beneficiary", self.beneficiary.map(|wallet| wallet.to_string())),
            ("category", self.category.map(|category| category.to_string())),
            ("minTag", self.min_tag.map(|tag| tag.to_string())),
            ("maxTag", self.max_tag.map(|tag| tag.to_string())),
            ("minTrust", self.min_trust.map(|trust| trust.to_string())),
            ("maxTrust", self.max_trust.map(|trust| trust.to_string())),
            ("minVolume", self.min_volume.map(|volume| volume.to_string())),
            ("bulkOnly", self.bulk_only.then(|| true.to_string())),
        ];
        pairs.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?))));
        write_page(&mut pairs, self.page);
        pairs
    }

    fn party(&self, party: OrderKind) -> PartyFilter {
        match party {
            OrderKind::App => self.app,
            OrderKind::Dataset => self.dataset,
            OrderKind::Workerpool => self.workerpool,
            OrderKind::Request => self.requester,
        }
    }

    fn party_mut(&mut self, party: OrderKind) -> &mut PartyFilter {
        match party {
            OrderKind::App => &mut self.app,
            OrderKind::Dataset => &mut self.dataset,
            OrderKind::Workerpool => &mut self.workerpool,
            OrderKind::Request => &mut self.requester,
        }
    }
}

/// Which deals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DealQuery {
    /// Of this category.
    pub category: Option<u64>,
    /// Asked by this one.
    pub requester: Option<Address>,
    /// For this one.
    pub beneficiary: Option<Address>,
    /// With this app.
    pub app: Option<Address>,
    /// With this dataset.
    pub dataset: Option<Address>,
    /// On this workerpool.
    pub workerpool: Option<Address>,
    /// With an app of this owner.
    pub app_owner: Option<Address>,
    /// With a dataset of this owner.
    pub dataset_owner: Option<Address>,
    /// On a workerpool of this owner.
    pub workerpool_owner: Option<Address>,
    /// From this app order.
    pub app_hash: Option<OrderHash>,
    /// From this dataset order.
    pub dataset_hash: Option<OrderHash>,
    /// From this workerpool order.
    pub workerpool_hash: Option<OrderHash>,
    /// From this request order.
    pub request_hash: Option<OrderHash>,
    /// Which part of them.
    pub page: PageRequest,
}

impl DealQuery {
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<Self, ShapeError> {
        let hash = |name: &str| Ok::<_, ShapeError>(pairs.bytes32(name)?.map(OrderHash));
        Ok(Self {
            category: pairs.number("category")?,
            requester: pairs.address("requester")?,
            beneficiary: pairs.address("beneficiary")?,
            app: pairs.address("app")?,
            dataset: pairs.address("dataset")?,
            workerpool: pairs.address("workerpool")?,
            app_owner: pairs.address("appOwner")?,
            dataset_owner: pairs.address("datasetOwner")?,
            workerpool_owner: pairs.address("workerpoolOwner")?,
            app_hash: hash("apporderHash")?,
            dataset_hash: hash("datasetorderHash")?,
            workerpool_hash: hash("workerpoolorderHash")?,
            request_hash: hash("requestorderHash")?,
            page: pairs.page()?,
        })
    }

    pub(super) fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let addresses = [
            ("requester", self.requester),
            ("beneficiary", self.beneficiary),
            ("app", self.app),
            ("dataset", self.dataset),
            ("workerpool", self.workerpool),
            ("appOwner", self.app_owner),
            ("datasetOwner", self.dataset_owner),
            ("workerpoolOwner", self.workerpool_owner),
        ];
        let hashes = [
            ("apporderHash", self.app_hash),
            ("datasetorderHash", self.dataset_hash),
            ("workerpoolorderHash", self.workerpool_hash),
            ("requestorderHash", self.request_hash),
        ];
        let mut pairs = Vec::new();
        pairs.extend(addresses.into_iter().filter_map(|(name, at)| Some((name, at?.to_string()))));
        pairs.extend(hashes.into_iter().filter_map(|(name, hash)| Some((name, hash?.to_string()))));
        pairs.extend(self.category.map(|category| ("category", category.to_string())));
        write_page(&mut pairs, self.page);
        pairs
    }
}

/// Which categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CategoryQuery {
    /// Allowing at least so many seconds.
    pub min_work_clock_time_ref: Option<u64>,
    /// Allowing at most so many seconds.
    pub max_work_clock_time_ref: Option<u64>,
    /// Which part of them.
    pub page: PageRequest,
}

impl CategoryQuery {
    pub(super) fn from_pairs(pairs: &Pairs) -> Result<Self, ShapeError> {
        Ok(Self {
            min_work_clock_time_ref: pairs.number("minWorkClockTimeRef")?,
            max_work_clock_time_ref: pairs.number("maxWorkClockTimeRef")?,
            page: pairs.page()?,
        })
    }

    pub(super) fn to_pairs(self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let least = self.min_work_clock_time_ref.map(|s| ("minWorkClockTimeRef", s.to_string()));
        let most = self.max_work_clock_time_ref.map(|s| ("maxWorkClockTimeRef", s.to_string()));
        pairs.extend(least.into_iter().chain(most));
        write_page(&mut pairs, self.page);
        pairs
    }
}

/// Which of a wallet's open orders to take out of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpublish {
    /// That one.
    Order(OrderHash),
    /// The newest for that app, dataset, workerpool or requester.
    Last(Address),
    /// All for that app, dataset, workerpool or requester.
    All(Address),
}

impl Unpublish {
    /// Reads the body of an official `PUT`.
    pub(super) fn from_json(kind: OrderKind, value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("body", value)?;
        let target = match from.optional("target") {
            None => TARGET_ORDER,
            Some(_) => from.text("target")?,
        };
        let subject = subject_name(kind);
        match target {
            TARGET_ORDER => Ok(Self::Order(OrderHash(from.bytes32("orderHash")?))),
            TARGET_LAST => Ok(Self::Last(from.address(subject)?)),
            TARGET_ALL => Ok(Self::All(from.address(subject)?)),
            _ => Err(ShapeError(format!(
                "target must be one of the following values: {TARGET_ORDER}, {TARGET_LAST}, {TARGET_ALL}"
            ))),
        }
    }

    pub(super) fn to_json(self, kind: OrderKind) -> Value {
        let (target, name, text) = match self {
            Self::Order(hash) => (TARGET_ORDER, "orderHash", hash.to_string()),
            Self::Last(subject) => (TARGET_LAST, subject_name(kind), subject.to_string()),
            Self::All(subject) => (TARGET_ALL, subject_name(kind), subject.to_string()),
        };
        let fields = [("target", target.to_owned()), (name, text)];
        let object: Map<_, _> =
            fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        Value::Object(object)
    }
}

const TARGET_ORDER: &str = "unpublish_orderHash";
const TARGET_LAST: &str = "unpublish_last";
const TARGET_ALL: &str = "unpublish_all";

/// What an order's subject is called in the API.
pub(super) fn subject_name(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::App => "app",
        OrderKind::Dataset => "dataset",
        OrderKind::Workerpool => "workerpool",
        OrderKind::Request => "requester",
    }
}

/// The parties that an order names, by the kind of order they would sign.
const PARTIES: [OrderKind; 4] = OrderKind::ALL;

/// Whether an order of that kind names the party to restrict who may use it, rather than to say what it is about.
fn restricts(kind: OrderKind, party: OrderKind) -> bool {
    match kind {
        OrderKind::Request => party == OrderKind::Workerpool,
        _ => party != kind,
    }
}

fn strict_name(party: OrderKind) -> &'static str {
    match party {
        OrderKind::App => "isAppStrict",
        OrderKind::Dataset => "isDatasetStrict",
        OrderKind::Workerpool => "isWorkerpoolStrict",
        OrderKind::Request => "isRequesterStrict",
    }
}

fn write_party(
    pairs: &mut Vec<(&'static str, String)>,
    kind: OrderKind,
    party: OrderKind,
    filter: PartyFilter,
) {
    let name = subject_name(party);
    match filter {
        PartyFilter::Any => pairs.push((name, ANY.to_owned())),
        PartyFilter::Unrestricted => {}
        PartyFilter::Admits(address) => pairs.push((name, address.to_string())),
        PartyFilter::Exactly(address) => {
            pairs.push((name, address.to_string()));
            if restricts(kind, party) {
                pairs.push((strict_name(party), true.to_string()));
            }
        }
    }
}

fn write_page(pairs: &mut Vec<(&'static str, String)>, page: PageRequest) {
    let size = page.limit.clamp(PAGE_SIZE_MIN, PAGE_SIZE_MAX);
    pairs.push(("pageIndex", (page.skip / size).to_string()));
    pairs.push(("pageSize", size.to_string()));
}

const ANY: &str = "any";

/// A URL's query, by name; of a name given twice the last counts.
pub(super) struct Pairs(pub(super) HashMap<String, String>);

impl Pairs {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The chain that the request is for, as written.
    pub(super) fn chain_id(&self, supported: u64) -> Result<&str, ShapeError> {
        let text = self.get("chainId");
        let text = text.ok_or_else(|| ShapeError("chainId is a required field".to_owned()))?;
        if text == supported.to_string() {
            return Ok(text);
        }
        let shown: String = text.chars().take(80).collect();
        Err(ShapeError(format!("chainId {shown} is not supported")))
    }

    pub(super) fn address(&self, name: &str) -> Result<Option<Address>, ShapeError> {
        self.get(name).map(|text| parse_address(name, text)).transpose()
    }

    fn bytes32(&self, name: &str) -> Result<Option<alloy_primitives::B256>, ShapeError> {
        self.get(name).map(|text| parse_bytes32(name, text)).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ShapeError> {
        self.at_least(name, 0)
    }

    fn at_least(&self, name: &str, least: u64) -> Result<Option<u64>, ShapeError> {
        self.get(name).map(|text| parse_whole(name, text, least)).transpose()
    }

    /// A number that must be there.
    pub(super) fn required_number(&self, name: &str) -> Result<u64, ShapeError> {
        let number = self.number(name)?;
        number.ok_or_else(|| ShapeError(format!("{name} is a required field")))
    }

    fn truth(&self, name: &str) -> Result<bool, ShapeError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ShapeError(format!("{name} must be a `boolean` type"))),
        }
    }

    fn page(&self) -> Result<PageRequest, ShapeError> {
        let (index, size) = (self.number("pageIndex")?, self.number("pageSize")?);
        if index.is_none() && size.is_none() {
            let skip = self.number("page")?.unwrap_or(0).min(SKIP_MAX);
            return Ok(PageRequest { skip, limit: PAGE_SIZE_DEFAULT });
        }
        let size = size.unwrap_or(PAGE_SIZE_DEFAULT);
        if size < PAGE_SIZE_MIN {
            return Err(ShapeError(format!(
                "pageSize must be greater than or equal to {PAGE_SIZE_MIN}"
            )));
        }
        if size > PAGE_SIZE_MAX {
            return Err(ShapeError(format!(
                "pageSize must be less than or equal to {PAGE_SIZE_MAX}"
            )));
        }
        Ok(PageRequest::new(index.unwrap_or(0), size))
    }

    /// What the orders are about: an address, or any.
    fn subject(&self, party: OrderKind) -> Result<PartyFilter, ShapeError> {
        let name = subject_name(party);
        match self.get(name) {
            None | Some(ANY) => Ok(PartyFilter::Any),
            Some(text) => parse_address(name, text).map(PartyFilter::Exactly),
        }
    }

    /// Who may use the orders: everybody, everybody and this one, only this one, or whoever.
    fn restriction(&self, party: OrderKind) -> Result<PartyFilter, ShapeError> {
        let name = subject_name(party);
        let strict = self.truth(strict_name(party))?;
        match self.get(name) {
            None => Ok(PartyFilter::Unrestricted),
            Some(ANY) => Ok(PartyFilter::Any),
            Some(text) if strict => parse_address(name, text).map(PartyFilter::Exactly),
            Some(text) => parse_address(name, text).map(PartyFilter::Admits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn pairs(query: &str) -> Pairs {
        Pairs(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn check(kind: OrderKind, query: &str, expected: &Expect) {
        let read = OrderQuery::from_pairs(kind, &pairs(query));
        let shown = match read {
            Ok(query) => format!(
                "app {:?}\ndataset {:?}\nworkerpool {:?}\nrequester {:?}\npage {:?}",
                query.app, query.dataset, query.workerpool, query.requester, query.page
            ),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn restrictions_and_subjects_read_by_the_official_rules() {
        let address = "0x00000000000000000000000000000000000000aa";
        check(
            OrderKind::Workerpool,
            "",
            &expect![[r#"
            app Unrestricted
            dataset Unrestricted
            workerpool Any
            requester Unrestricted
            page PageRequest { skip: 0, limit: 20 }"#]],
        );
        check(
            OrderKind::Workerpool,
            &format!(
                "app={address}&requester={address}&isRequesterStrict=true&dataset=any&pageIndex=2&pageSize=50"
            ),
            &expect![[r#"
                app Admits(0x00000000000000000000000000000000000000aa)
                dataset Any
                workerpool Any
                requester Exactly(0x00000000000000000000000000000000000000aa)
                page PageRequest { skip: 100, limit: 50 }"#]],
        );
        check(
            OrderKind::Request,
            &format!("requester={address}&page=7"),
            &expect![[r#"
            app Any
            dataset Any
            workerpool Unrestricted
            requester Exactly(0x00000000000000000000000000000000000000aa)
            page PageRequest { skip: 7, limit: 20 }"#]],
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(OrderKind::App, "", &expect!["app or appOwner is required"]);
        check(OrderKind::Dataset, "", &expect!["dataset or datasetOwner is required"]);
        check(OrderKind::App, "app=0x12", &expect!["app is not a valid ethereum address"]);
        check(
            OrderKind::App,
            "app=any&pageSize=9",
            &expect!["pageSize must be greater than or equal to 10"],
        );
        check(OrderKind::App, "app=any&minTag=1", &expect!["minTag must be a bytes32 hexstring"]);
        check(
            OrderKind::App,
            "app=any&minVolume=-1",
            &expect!["minVolume must be greater than or equal to 1"],
        );
        check(OrderKind::App, "app=any&page=1.5", &expect!["page must be an integer"]);
        check(
            OrderKind::Workerpool,
            "category=XL",
            &expect![[
                r#"category must be a `number` type, but the final value was: `NaN` (cast from the value `"XL"`)."#
            ]],
        );
        check(
            OrderKind::Workerpool,
            "minTrust=9007199254740992",
            &expect!["minTrust must be less than or equal to 9007199254740991"],
        );
        check(
            OrderKind::Request,
            "isWorkerpoolStrict=1",
            &expect!["isWorkerpoolStrict must be a `boolean` type"],
        );
    }

    fn filter() -> impl Strategy<Value = u8> {
        0u8..4
    }

    proptest! {
        #[test]
        fn a_query_reads_back_as_it_was_written(
            kind in 0usize..4,
            filters in [filter(), filter(), filter(), filter()],
            category in proptest::option::of(0u64..10),
            tag in any::<[u8; 32]>(),
            index in 0u64..100,
        ) {
            let kind = OrderKind::ALL[kind];
            let mut query = OrderQuery::all(kind);
            for (party, filter) in PARTIES.into_iter().zip(filters) {
                let address = Address::repeat_byte(filter);
                *query.party_mut(party) = match (filter, restricts(kind, party)) {
                    (0, _) => PartyFilter::Any,
                    (1, true) => PartyFilter::Unrestricted,
                    (2, true) => PartyFilter::Admits(address),
                    _ => PartyFilter::Exactly(address),
                };
            }
            query.max_tag = Some(Tag(tag.into()));
            query.page = PageRequest::new(index, 10);
            if matches!(kind, OrderKind::Workerpool | OrderKind::Request) {
                query.category = category;
            }
            let written = query.to_pairs().into_iter().map(|(name, text)| (name.to_owned(), text));
            let read = OrderQuery::from_pairs(kind, &Pairs(written.collect()));
            prop_assert_eq!(read, Ok(query));
        }

        #[test]
        fn no_query_makes_it_panic(kind in 0usize..4, query in "[a-zA-Z=&0-9]{0,120}") {
            let _ = OrderQuery::from_pairs(OrderKind::ALL[kind], &pairs(&query));
            let _ = DealQuery::from_pairs(&pairs(&query));
            let _ = CategoryQuery::from_pairs(&pairs(&query));
        }
    }
}
