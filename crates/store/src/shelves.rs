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
//! So an answer costs as much as its page and its shelves, not as much as the book. Where many shelves fit and most orders are
//! on them, or the page is a late one, walking one index in the sequence of prices meets the page's orders sooner than
//! looking at each shelf; that is tried first then, for so many steps. What stands on how many shelves is the
//! publishers' choice; beyond a limit the shelves are left aside.
//!
//! **Layout:** here, which way is taken · `list` the shelves in memory · `sql` the questions' words.

mod list;
mod sql;

use alloy_primitives::Address;
use orders::OrderKind;
use primitives::Tag;
use sqlx::{QueryBuilder, Sqlite};

pub(crate) use list::{Known, ShelfList, put};

use crate::column::{self, Columns, LIMIT};
use crate::orders::{kind_number, push_filter, read_kind};
use crate::{Error, OrderFilter, OrderRow, Party, Range, Result, Store};

use list::Fitting;
use sql::{push_arms, push_restricted, push_shelves, push_walk, restricted, sequence};

/// Shelves that one answer is merged from.
const SHELVES_MAX: usize = 160;
/// Orders restricted to somebody whom a query names, of which there are so few that they are read and sorted in.
const FEW: usize = 64;
/// What looking at a shelf costs, in steps of a walk.
const SHELF_STEPS: u64 = 20;
/// How much further than expected a walk may go, and how far it may go in any case.
const WALK_SPARE: u64 = 2;
const WALK_STEPS_MIN: u64 = 64;

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
        let (rows, count) = self.page(filter, &plan, range).await?;
        let all_here = range.skip == 0 && (rows.len() as u64) < range.limit;
        let count = match count {
            Some(count) => count,
            None if all_here => rows.len() as u64,
            None => self.count_by(filter, &plan).await?,
        };
        Ok((rows, count))
    }

    /// [`Self::open_orders`] without counting those that are not given.
    pub async fn open_offers(&self, filter: &OrderFilter, range: Range) -> Result<Vec<OrderRow>> {
        let filter = &tidied(filter);
        let plan = self.plan(filter).await?;
        Ok(self.page(filter, &plan, range).await?.0)
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
        query.push(" GROUP BY tag_0, tag_1, tag_2, tag_3 ORDER BY counted DESC, tag_0");
        query.push(LIMIT).push_bind(column::number("limit", limit)?);
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
        let fitting = match self.shelves().fitting(filter) {
            Some(fitting) => fitting,
            None => self.fitting_by_table(filter).await?,
        };
        Ok(if fitting.ids.len() > SHELVES_MAX { Plan::Walk } else { Plan::Shelves(fitting) })
    }

    /// One shelf more than is used at most, to see whether there are too many.
    async fn fitting_by_table(&self, filter: &OrderFilter) -> Result<Fitting> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, open");
        push_shelves(&mut query, filter)?;
        query.push(format_args!(" LIMIT {}", SHELVES_MAX + 1));
        let rows = query.build().fetch_all(self.pool()).await;
        let rows = rows.map_err(Error::query("read the shelves"))?;
        let mut fitting = Fitting::default();
        for row in &rows {
            let from = Columns(row);
            fitting.ids.push(column::number("a shelf", from.number("id")?)?);
            fitting.open = fitting.open.saturating_add(from.number("open")?);
        }
        Ok(fitting)
    }

    /// The page, and how many orders there are in all where that comes with it.
    async fn page(
        &self,
        filter: &OrderFilter,
        plan: &Plan,
        range: Range,
    ) -> Result<(Vec<OrderRow>, Option<u64>)> {
        let fitting = match plan {
            Plan::Shelves(fitting) => fitting,
            Plan::Index | Plan::Walk => {
                let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
                push_filter(&mut query, filter)?;
                query.push(sequence(filter.kind, ""));
                push_range(&mut query, range)?;
                return Ok((self.fetch(query).await?, None));
            }
        };
        let Some(restricted) = self.few_restricted(filter).await? else {
            return Ok((self.by_arms(filter, fitting, &restricted(filter), range).await?, None));
        };
        let few = restricted.len() as u64;
        // Of what comes before the page, at most the few are restricted; the others need not be read.
        let passed = range.skip.saturating_sub(few);
        let before = range.skip - passed;
        let rest = Range { skip: passed, limit: range.limit.saturating_add(before) };
        let mut rows = self.unrestricted(filter, fitting, rest).await?;
        rows.extend(restricted);
        rows.sort_by(best_first);
        let rows = rows.into_iter().skip(clamped(before)).take(clamped(range.limit)).collect();
        let count = (!differs_within_shelves(filter)).then(|| fitting.open.saturating_add(few));
        Ok((rows, count))
    }

    /// All orders restricted to somebody whom the query names; nothing when there are more than a few.
    async fn few_restricted(&self, filter: &OrderFilter) -> Result<Option<Vec<OrderRow>>> {
        let restricted = restricted(filter);
        if restricted.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut query = QueryBuilder::<Sqlite>::new("");
        for (number, restricted) in restricted.iter().enumerate() {
            query.push(if number == 0 { "" } else { " UNION ALL " });
            query.push("SELECT * FROM (SELECT *");
            push_restricted(&mut query, filter, restricted)?;
            query.push(format_args!(" LIMIT {})", FEW + 1));
        }
        let rows = self.fetch(query).await?;
        Ok((rows.len() <= FEW).then_some(rows))
    }

    /// Orders on the shelves, best price first.
    async fn unrestricted(
        &self,
        filter: &OrderFilter,
        fitting: &Fitting,
        range: Range,
    ) -> Result<Vec<OrderRow>> {
        if let Some(steps) = walk_steps(filter, fitting, range) {
            let mut query = QueryBuilder::<Sqlite>::new("");
            push_walk(&mut query, filter, &fitting.ids, steps, range)?;
            let rows = self.fetch(query).await?;
            // A page that is not full may only mean that the walk was not long enough.
            if rows.len() as u64 >= range.limit {
                return Ok(rows);
            }
        }
        self.by_arms(filter, fitting, &[], range).await
    }

    async fn by_arms(
        &self,
        filter: &OrderFilter,
        fitting: &Fitting,
        restricted: &[Restricted],
        range: Range,
    ) -> Result<Vec<OrderRow>> {
        if fitting.ids.is_empty() && restricted.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::<Sqlite>::new("SELECT orders.* FROM (");
        let most = column::number("limit", range.limit.saturating_add(range.skip))?;
        push_arms(&mut query, filter, &fitting.ids, restricted, most)?;
        query.push(") AS best JOIN orders ON orders.rowid = best.best_row");
        query.push(sequence(filter.kind, "orders."));
        push_range(&mut query, range)?;
        self.fetch(query).await
    }

    async fn count_by(&self, filter: &OrderFilter, plan: &Plan) -> Result<u64> {
        let open = match plan {
            Plan::Shelves(fitting) if !differs_within_shelves(filter) => fitting.open,
            Plan::Walk if !differs_within_shelves(filter) => match self.shelves().fitting(filter) {
                Some(fitting) => fitting.open,
                None => {
                    let sum = "SELECT COALESCE(SUM(open), 0) AS counted";
                    let mut query = QueryBuilder::<Sqlite>::new(sum);
                    push_shelves(&mut query, filter)?;
                    self.counted(query).await?
                }
            },
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

/// How a query is answered.
enum Plan {
    /// By whom it names.
    Index,
    /// From these shelves.
    Shelves(Fitting),
    /// By walking all orders in the sequence of prices.
    Walk,
}

/// Orders restricted to `party`, which is `address`; the parties before it are named by nobody, so that no order is in
/// two of these.
struct Restricted {
    party: OrderKind,
    address: Address,
}

/// How far to walk through all open orders of the kind for that page; nothing when looking at each shelf costs less.
fn walk_steps(filter: &OrderFilter, fitting: &Fitting, range: Range) -> Option<u64> {
    let walks = matches!(filter.kind, OrderKind::Workerpool | OrderKind::Request);
    let wanted = range.skip.saturating_add(range.limit);
    if !walks || differs_within_shelves(filter) || wanted > fitting.open {
        return None;
    }
    // If what fits is spread evenly.
    let expected = u128::from(wanted) * u128::from(fitting.of) / u128::from(fitting.open.max(1));
    let expected = u64::try_from(expected).unwrap_or(u64::MAX);
    let shelves = fitting.ids.len() as u64;
    let by_shelf = shelves.saturating_mul(wanted).min(fitting.open) + shelves * SHELF_STEPS;
    let steps = expected.saturating_mul(WALK_SPARE).saturating_add(WALK_STEPS_MIN);
    (expected < by_shelf).then_some(steps)
}

fn best_first(one: &OrderRow, other: &OrderRow) -> std::cmp::Ordering {
    let age = |row: &OrderRow| (row.published_ms, row.hash);
    let price = match one.kind {
        OrderKind::App => one.app_price.cmp(&other.app_price),
        OrderKind::Dataset => one.dataset_price.cmp(&other.dataset_price),
        OrderKind::Workerpool => one.workerpool_price.cmp(&other.workerpool_price),
        OrderKind::Request => other.workerpool_price.cmp(&one.workerpool_price),
    };
    price.then_with(|| age(one).cmp(&age(other)))
}

fn push_range(query: &mut QueryBuilder<Sqlite>, range: Range) -> Result<()> {
    query.push(LIMIT).push_bind(column::number("limit", range.limit)?);
    query.push(" OFFSET ").push_bind(column::number("offset", range.skip)?);
    Ok(())
}

fn clamped(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
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
            let mut query = QueryBuilder::<Sqlite>::new("");
            push_arms(&mut query, &filter, &[1, 2], &[], 20).expect("a query");
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
        let found = "open_orders_for_requester (requester=? AND kind=? AND category=?)";
        assert!(plan.contains(found), "{plan}");
    }

    #[tokio::test]
    async fn a_walk_reads_no_order_that_is_not_on_the_page() {
        let store = Store::in_memory().await.expect("opens");
        let page = Range { skip: 3, limit: 20 };
        for (kind, index) in [
            (OrderKind::Workerpool, "COVERING INDEX open_workerpool_orders"),
            (OrderKind::Request, "COVERING INDEX open_request_orders"),
        ] {
            let mut query = QueryBuilder::<Sqlite>::new("");
            push_walk(&mut query, &OrderFilter::all(kind), &[1, 2], 100, page).expect("a query");
            let plan = plan(&store, query).await;
            assert!(plan.contains(index), "{plan}");
        }
    }
}
