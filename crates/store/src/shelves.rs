//! How open orders are found among very many.
//!
//! A query that names whose orders it wants (an app, a dataset, a signer, …) is answered by an index, for those are few. One
//! that does not, such as "the cheapest computing in category 2 for anybody", is answered from the shelves that fit it:
//!
//! ```text
//! shelves that fit ─► the first few of each, by price ─┐
//! orders restricted to somebody whom the query names ──┴─► merged, cut to the page
//! count: the shelves' numbers added up, and those restricted ones
//! ```
//!
//! So an answer costs as much as its page and its shelves, not as much as the book. What stands on how many shelves is
//! the publishers' choice; beyond a limit the shelves are left aside and one index is walked in the sequence of prices.

use std::collections::HashSet;

use alloy_primitives::Address;
use orders::OrderKind;
use primitives::Tag;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::column::{self, Columns};
use crate::orders::{
    kind_number, party_column, price_column, push_alike, push_filter, push_party, push_rest,
    read_kind,
};
use crate::{Error, OrderFilter, OrderRow, Party, Range, Result, Store};

/// Shelves that one answer is merged from.
const SHELVES_MAX: usize = 160;

/// How many orders are open, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenCounts {
    /// Apps'.
    pub app: u64,
    /// Datasets'.
    pub dataset: u64,
    /// Workerpools'.
    pub workerpool: u64,
    /// Requests.
    pub request: u64,
}

impl Store {
    /// Open orders, best price first (requests: highest), then oldest, then by hash; and how many there are in all.
    pub async fn open_orders(
        &self,
        filter: &OrderFilter,
        range: Range,
    ) -> Result<(Vec<OrderRow>, u64)> {
        let filter = &tidied(filter);
        let plan = self.plan(filter).await?;
        let rows = self.page(filter, &plan, range).await?;
        let all_here = range.skip == 0 && (rows.len() as u64) < range.limit;
        let count = if all_here { rows.len() as u64 } else { self.count_by(filter, &plan).await? };
        Ok((rows, count))
    }

    /// [`Self::open_orders`] without counting those that are not given.
    pub async fn open_offers(&self, filter: &OrderFilter, range: Range) -> Result<Vec<OrderRow>> {
        let filter = &tidied(filter);
        let plan = self.plan(filter).await?;
        self.page(filter, &plan, range).await
    }

    /// How many open orders the filter lets through.
    pub async fn count_open(&self, filter: &OrderFilter) -> Result<u64> {
        let filter = &tidied(filter);
        let plan = self.plan(filter).await?;
        self.count_by(filter, &plan).await
    }

    /// How many orders are open, by kind.
    pub async fn open_counts(&self) -> Result<OpenCounts> {
        let rows = sqlx::query("SELECT kind, SUM(open) AS counted FROM shelves GROUP BY kind")
            .fetch_all(self.pool())
            .await
            .map_err(Error::query("count open orders"))?;
        let mut counts = OpenCounts::default();
        for row in &rows {
            let columns = Columns(row);
            let counted = columns.number("counted")?;
            match read_kind(columns.number("kind")?)? {
                OrderKind::App => counts.app = counted,
                OrderKind::Dataset => counts.dataset = counted,
                OrderKind::Workerpool => counts.workerpool = counted,
                OrderKind::Request => counts.request = counted,
            }
        }
        Ok(counts)
    }

    /// Which demands open orders of that kind and category have, and how many orders each; most orders first.
    pub async fn open_tags(
        &self,
        kind: OrderKind,
        category: Option<u64>,
        limit: u64,
    ) -> Result<Vec<(Tag, u64)>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT tag_0, tag_1, tag_2, tag_3, SUM(open) AS counted FROM shelves \
             WHERE open > 0 AND kind = ",
        );
        query.push(kind_number(kind));
        if let Some(category) = category {
            query.push(" AND category = ").push_bind(column::number("the category", category)?);
        }
        query.push(" GROUP BY tag_0, tag_1, tag_2, tag_3 ORDER BY counted DESC, tag_0 LIMIT ");
        query.push_bind(column::number("limit", limit)?);
        let rows = query.build().fetch_all(self.pool()).await;
        let rows = rows.map_err(Error::query("read the demands of orders"))?;
        let read = |row| {
            let from = Columns(row);
            Ok((from.tag(["tag_0", "tag_1", "tag_2", "tag_3"])?, from.number("counted")?))
        };
        rows.iter().map(read).collect()
    }

    async fn plan(&self, filter: &OrderFilter) -> Result<Plan> {
        if names_somebody(filter) {
            return Ok(Plan::Index);
        }
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, open");
        push_shelves(&mut query, filter)?;
        // One more than is used, to see whether there are too many.
        query.push(format_args!(" LIMIT {}", SHELVES_MAX + 1));
        let rows = query.build().fetch_all(self.pool()).await;
        let rows = rows.map_err(Error::query("read the shelves"))?;
        let mut shelves = Shelves { ids: Vec::new(), open: 0 };
        for row in &rows {
            let from = Columns(row);
            shelves.ids.push(column::number("a shelf", from.number("id")?)?);
            shelves.open = shelves.open.saturating_add(from.number("open")?);
        }
        Ok(if rows.len() > SHELVES_MAX { Plan::Walk } else { Plan::Shelves(shelves) })
    }

    async fn page(&self, filter: &OrderFilter, plan: &Plan, range: Range) -> Result<Vec<OrderRow>> {
        let limit = column::number("limit", range.limit)?;
        let skip = column::number("offset", range.skip)?;
        let mut query = match plan {
            Plan::Index | Plan::Walk => {
                let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
                push_filter(&mut query, filter)?;
                query.push(sequence(filter.kind, ""));
                query
            }
            Plan::Shelves(shelves) => {
                let restricted = restricted(filter);
                if shelves.ids.is_empty() && restricted.is_empty() {
                    return Ok(Vec::new());
                }
                let mut query = QueryBuilder::<Sqlite>::new("SELECT orders.* FROM (");
                push_arms(&mut query, filter, shelves, &restricted, limit.saturating_add(skip))?;
                query.push(") AS best JOIN orders ON orders.hash = best.best_hash");
                query.push(sequence(filter.kind, "orders."));
                query
            }
        };
        query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(skip);
        self.fetch(query).await
    }

    async fn count_by(&self, filter: &OrderFilter, plan: &Plan) -> Result<u64> {
        let open = match plan {
            Plan::Shelves(shelves) if !differs_within_shelves(filter) => shelves.open,
            Plan::Walk if !differs_within_shelves(filter) => {
                let mut query =
                    QueryBuilder::<Sqlite>::new("SELECT COALESCE(SUM(open), 0) AS counted");
                push_shelves(&mut query, filter)?;
                self.counted(query).await?
            }
            _ => {
                let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) AS counted");
                push_filter(&mut query, filter)?;
                return self.counted(query).await;
            }
        };
        let mut count = open;
        for restricted in restricted(filter) {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) AS counted");
            push_restricted(&mut query, filter, &restricted)?;
            count = count.saturating_add(self.counted(query).await?);
        }
        Ok(count)
    }

    async fn counted(&self, mut query: QueryBuilder<Sqlite>) -> Result<u64> {
        let row = query.build().fetch_one(self.pool()).await;
        Columns(&row.map_err(Error::query("count open orders"))?).number("counted")
    }
}

/// Shelves that are known to exist, so that they need not be made sure of for each order.
#[derive(Debug, Default)]
pub(crate) struct Known(HashSet<(OrderKind, u64, u64, Tag, i64)>);

impl Known {
    /// Shelves remembered at once.
    const MAX: usize = 4_096;

    /// What was written may have been taken back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Sees to it that the shelf of an order exists; gives the order's `named`.
pub(crate) async fn put(
    to: &mut SqliteConnection,
    known: &mut Known,
    row: &OrderRow,
) -> Result<i64> {
    let [tag_0, tag_1, tag_2, tag_3] = column::tag(row.tag);
    let named = named(row);
    let shelf = (row.kind, row.category, row.trust, row.tag, named);
    if known.0.contains(&shelf) {
        return Ok(named);
    }
    sqlx::query(
        "INSERT INTO shelves (id, kind, category, trust, tag_0, tag_1, tag_2, tag_3, named, open) \
         VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM shelves), $1, $2, $3, $4, $5, $6, $7, $8, 0) \
         ON CONFLICT (kind, category, trust, tag_0, tag_1, tag_2, tag_3, named) DO NOTHING",
    )
    .bind(kind_number(row.kind))
    .bind(column::number("the category", row.category)?)
    .bind(column::number("the trust", row.trust)?)
    .bind(tag_0)
    .bind(tag_1)
    .bind(tag_2)
    .bind(tag_3)
    .bind(named)
    .execute(to)
    .await
    .map_err(Error::query("write a shelf"))?;
    if known.0.len() >= Known::MAX {
        known.forget();
    }
    known.0.insert(shelf);
    Ok(named)
}

/// How a query is answered.
enum Plan {
    /// By whom it names.
    Index,
    /// From these shelves.
    Shelves(Shelves),
    /// By walking all orders in the sequence of prices.
    Walk,
}

struct Shelves {
    ids: Vec<i64>,
    open: u64,
}

/// Orders restricted to `party`, which is `address`; the parties before it are named by nobody, so that no order is in
/// two of these.
struct Restricted {
    party: OrderKind,
    address: Address,
}

/// The same filter, said in the plainest way.
fn tidied(filter: &OrderFilter) -> OrderFilter {
    let mut filter = filter.clone();
    let kind = filter.kind;
    let parties = [
        (OrderKind::App, &mut filter.app),
        (OrderKind::Dataset, &mut filter.dataset),
        (OrderKind::Workerpool, &mut filter.workerpool),
        (OrderKind::Request, &mut filter.requester),
    ];
    for (party, value) in parties {
        let nobody = matches!(value, Party::Admits(address) if address.is_zero());
        let strictly = matches!(value, Party::Is(address) if address.is_zero());
        if nobody || (strictly && bit(kind, party) != 0) {
            *value = Party::Nobody;
        }
    }
    // A request is signed by its requester, and by signer there is an index.
    if let (OrderKind::Request, Party::Is(requester)) = (kind, filter.requester) {
        filter.signer = filter.signer.or(Some(requester));
    }
    filter
}

/// Whether the filter names someone of whom there are few orders.
pub(crate) fn names_somebody(filter: &OrderFilter) -> bool {
    let named = |(_, party)| matches!(party, Party::Is(address) if !address.is_zero());
    filter.signer.is_some()
        || filter.beneficiary.is_some()
        || filter.parties().into_iter().any(named)
        // What a party is not restricted by but about is told by its address alone.
        || filter.parties().into_iter().any(|(party, value)| {
            bit(filter.kind, party) == 0 && matches!(value, Party::Admits(_))
        })
}

/// Whether the filter lets through some orders of a shelf and others not.
fn differs_within_shelves(filter: &OrderFilter) -> bool {
    filter.min_remaining.is_some_and(|least| least > 1)
        || filter.min_volume.is_some()
        || filter.max_price.is_some()
        || about(filter).next().is_some()
}

/// The filter's demands on what orders are about, rather than restricted to.
fn about(filter: &OrderFilter) -> impl Iterator<Item = (OrderKind, Party)> {
    let kind = filter.kind;
    let about =
        move |(party, value): &(OrderKind, Party)| bit(kind, *party) == 0 && *value != Party::Any;
    filter.parties().into_iter().filter(about)
}

/// The bit in `named` for that party; 0 where orders of that kind are about the party.
fn bit(kind: OrderKind, party: OrderKind) -> i64 {
    let restricts = match kind {
        OrderKind::Request => party == OrderKind::Workerpool,
        _ => party != kind,
    };
    if !restricts {
        return 0;
    }
    match party {
        OrderKind::App => 1,
        OrderKind::Dataset => 2,
        OrderKind::Workerpool => 4,
        OrderKind::Request => 8,
    }
}

fn named(row: &OrderRow) -> i64 {
    let parties = [
        (OrderKind::App, row.app),
        (OrderKind::Dataset, row.dataset),
        (OrderKind::Workerpool, row.workerpool),
        (OrderKind::Request, row.requester),
    ];
    let named = parties.into_iter().filter(|(_, address)| !address.is_zero());
    named.map(|(party, _)| bit(row.kind, party)).sum()
}

/// The words of the partial index of orders restricted to somebody of that party; nothing where orders of that kind are
/// about the party.
pub(crate) fn restricted_to_somebody(kind: OrderKind, party: OrderKind) -> Option<String> {
    let bit = bit(kind, party);
    let values = (0..16_i64).filter(|named| named & bit != 0).map(|named| named.to_string());
    let values: Vec<_> = values.collect();
    (bit != 0).then(|| format!(" AND named IN ({})", values.join(", ")))
}

fn push_shelves(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) -> Result<()> {
    query.push(" FROM shelves WHERE open > 0 AND kind = ").push(kind_number(filter.kind));
    // Where the query cares whom orders are restricted to, only those restricted to nobody are found by shelf.
    let cares = filter.parties().into_iter().filter(|(_, party)| *party != Party::Any);
    let bits: i64 = cares.map(|(party, _)| bit(filter.kind, party)).sum();
    if bits != 0 {
        query.push(format_args!(" AND (named & {bits}) = 0"));
    }
    push_alike(query, filter)
}

fn restricted(filter: &OrderFilter) -> Vec<Restricted> {
    let admitted = |(party, value)| match value {
        Party::Admits(address) => Some(Restricted { party, address }),
        _ => None,
    };
    filter.parties().into_iter().filter_map(admitted).collect()
}

fn push_arms(
    query: &mut QueryBuilder<Sqlite>,
    filter: &OrderFilter,
    shelves: &Shelves,
    restricted: &[Restricted],
    limit: i64,
) -> Result<()> {
    let price = price_column(filter.kind);
    let kind = kind_number(filter.kind);
    query.push("SELECT * FROM (");
    let mut first = true;
    let mut begin = |query: &mut QueryBuilder<Sqlite>| {
        query.push(if first { "" } else { " UNION ALL " });
        first = false;
        query.push(format_args!(
            "SELECT * FROM (SELECT {price} AS best_price, published_ms AS best_ms, hash AS best_hash"
        ));
    };
    let end = |query: &mut QueryBuilder<Sqlite>| {
        query.push(sequence(filter.kind, "")).push(" LIMIT ").push_bind(limit).push(")");
    };
    for shelf in &shelves.ids {
        begin(query);
        query.push(format_args!(" FROM orders WHERE status = 0 AND kind = {kind} AND shelf = "));
        query.push_bind(*shelf);
        for (party, value) in about(filter) {
            push_party(query, party_column(party), value);
        }
        push_rest(query, filter)?;
        end(query);
    }
    for restricted in restricted {
        begin(query);
        push_restricted(query, filter, restricted)?;
        end(query);
    }
    // A limit that limits nothing: without it the database would merge the arms in pairs, which takes far longer than
    // sorting their few rows.
    query.push(" LIMIT ").push_bind(i64::MAX);
    let direction = if filter.kind == OrderKind::Request { " DESC" } else { "" };
    query.push(format_args!(") AS arms ORDER BY best_price{direction}, best_ms, best_hash LIMIT "));
    query.push_bind(limit);
    Ok(())
}

fn push_restricted(
    query: &mut QueryBuilder<Sqlite>,
    filter: &OrderFilter,
    restricted: &Restricted,
) -> Result<()> {
    let column = party_column(restricted.party);
    query.push(" FROM orders WHERE status = 0 AND kind = ").push(kind_number(filter.kind));
    query.push(restricted_to_somebody(filter.kind, restricted.party).unwrap_or_default());
    query.push(format_args!(" AND {column} = "));
    query.push_bind(column::address(restricted.address));
    let mut before = true;
    for (party, value) in filter.parties() {
        if party == restricted.party {
            before = false;
            continue;
        }
        let value = match value {
            Party::Admits(_) if before => Party::Nobody,
            value => value,
        };
        // The plus keeps the database from choosing another index, which would find far more orders.
        push_party(query, &format!("+{}", party_column(party)), value);
    }
    push_alike_unindexed(query, filter)?;
    push_rest(query, filter)
}

/// [`push_alike`], with the one column that an index begins with made unattractive.
pub(crate) fn push_alike_unindexed(
    query: &mut QueryBuilder<Sqlite>,
    filter: &OrderFilter,
) -> Result<()> {
    if let Some(category) = filter.category {
        let category = column::number("the category", category)?;
        query.push(" AND +category = ").push_bind(category);
    }
    push_alike(query, &OrderFilter { category: None, ..filter.clone() })
}

fn sequence(kind: OrderKind, of: &str) -> String {
    let price = price_column(kind);
    let direction = if kind == OrderKind::Request { " DESC" } else { "" };
    format!(" ORDER BY {of}{price}{direction}, {of}published_ms, {of}hash")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the database goes about a query, in its own words.
    async fn plan(store: &Store, query: QueryBuilder<Sqlite>) -> String {
        let mut explain = QueryBuilder::<Sqlite>::new("EXPLAIN QUERY PLAN ");
        explain.push(query.into_string().replace("$", "?"));
        let rows = explain.build().fetch_all(store.pool()).await.expect("explains");
        let text = |row| Columns(row).text("detail").expect("a detail");
        rows.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    async fn check(filter: &OrderFilter, index: &str) {
        let store = Store::in_memory().await.expect("opens");
        let filter = &tidied(filter);
        let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
        push_filter(&mut query, filter).expect("a query");
        query.push(sequence(filter.kind, ""));
        let plan = plan(&store, query).await;
        assert!(plan.contains(index), "{plan}");
    }

    #[tokio::test]
    async fn each_shape_of_query_has_its_index() {
        let somebody = Address::repeat_byte(7);
        let all = OrderFilter::all;
        let category = Some(3);
        let app = Party::Is(somebody);
        check(&OrderFilter { app, ..all(OrderKind::App) }, "open_app_orders").await;
        let requests = all(OrderKind::Request);
        check(&OrderFilter { app, ..requests.clone() }, "open_requests_by_app").await;
        let dataset = Party::Is(somebody);
        check(&OrderFilter { dataset, ..all(OrderKind::Dataset) }, "open_dataset_orders").await;
        check(&OrderFilter { dataset, ..requests.clone() }, "open_requests_by_dataset").await;
        let beneficiary = Some(somebody);
        let for_one = OrderFilter { beneficiary, category, ..requests.clone() };
        check(&for_one, "open_requests_by_beneficiary").await;
        let by_one = OrderFilter { requester: Party::Is(somebody), category, ..requests };
        check(&by_one, "open_orders_by_signer").await;
        let pools = OrderFilter { category, ..all(OrderKind::Workerpool) };
        let workerpool = Party::Is(somebody);
        check(&OrderFilter { workerpool, ..pools.clone() }, "open_orders_by_workerpool").await;
        check(&OrderFilter { app, ..pools.clone() }, "open_orders_for_app").await;
        check(&OrderFilter { signer: beneficiary, ..pools }, "open_orders_by_signer").await;
    }

    #[tokio::test]
    async fn a_shelf_and_a_restriction_are_read_from_their_indexes() {
        let store = Store::in_memory().await.expect("opens");
        for (kind, index) in [
            (OrderKind::App, "COVERING INDEX shelved_app_orders"),
            (OrderKind::Dataset, "COVERING INDEX shelved_dataset_orders"),
            (OrderKind::Workerpool, "COVERING INDEX shelved_workerpool_orders"),
            (OrderKind::Request, "COVERING INDEX shelved_request_orders"),
        ] {
            let filter = OrderFilter { category: Some(3), ..OrderFilter::all(kind) };
            let shelves = Shelves { ids: vec![1, 2], open: 2 };
            let mut query = QueryBuilder::<Sqlite>::new("");
            push_arms(&mut query, &filter, &shelves, &[], 20).expect("a query");
            let plan = plan(&store, query).await;
            assert_eq!(plan.matches(index).count(), 2, "{plan}");
        }
        let filter = OrderFilter {
            category: Some(3),
            requester: Party::Admits(Address::repeat_byte(7)),
            ..OrderFilter::all(OrderKind::Workerpool)
        };
        let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*)");
        push_restricted(&mut query, &filter, &restricted(&filter)[0]).expect("a query");
        let plan = plan(&store, query).await;
        assert!(plan.contains("open_orders_for_requester"), "{plan}");
    }
}
