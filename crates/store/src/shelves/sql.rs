//! The words of the questions that are answered by way of the shelves.

use orders::OrderKind;
use sqlx::{QueryBuilder, Sqlite};

use super::list::unnamed;
use super::{Restricted, about, push_range, restricted_to_somebody};
use crate::column::{self, LIMIT};
use crate::orders::{kind_number, party_column, price_column, push_alike, push_party, push_rest};
use crate::{OrderFilter, Party, Range, Result};

pub(super) fn push_shelves(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) -> Result<()> {
    query.push(" FROM shelves WHERE open > 0 AND kind = ").push(kind_number(filter.kind));
    let bits = unnamed(filter);
    if bits != 0 {
        query.push(format_args!(" AND (named & {bits}) = 0"));
    }
    push_alike(query, filter)
}

pub(super) fn restricted(filter: &OrderFilter) -> Vec<Restricted> {
    let admitted = |(party, value)| match value {
        Party::Admits(address) => Some(Restricted { party, address }),
        _ => None,
    };
    filter.parties().into_iter().filter_map(admitted).collect()
}

pub(super) fn push_arms(
    query: &mut QueryBuilder<Sqlite>,
    filter: &OrderFilter,
    shelves: &[i64],
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
            "SELECT * FROM (SELECT {price} AS best_price, published_ms AS best_ms, hash AS best_hash, \
             rowid AS best_row"
        ));
    };
    let end = |query: &mut QueryBuilder<Sqlite>| {
        query.push(sequence(filter.kind, "")).push(LIMIT).push_bind(limit).push(")");
    };
    for shelf in shelves {
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
    query.push(LIMIT).push_bind(i64::MAX);
    let direction = direction(filter.kind);
    query.push(format_args!(") AS arms ORDER BY best_price{direction}, best_ms, best_hash"));
    query.push(LIMIT).push_bind(limit);
    Ok(())
}

pub(super) fn push_restricted(
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
    push_alike(query, filter)?;
    push_rest(query, filter)
}

/// The page of the orders on those shelves that a walk of so many steps through all open orders of the kind meets.
pub(super) fn push_walk(
    query: &mut QueryBuilder<Sqlite>,
    filter: &OrderFilter,
    shelves: &[i64],
    steps: u64,
    page: Range,
) -> Result<()> {
    let (price, kind) = (price_column(filter.kind), kind_number(filter.kind));
    query.push(format_args!(
        "SELECT orders.* FROM (SELECT best_row FROM (\
         SELECT rowid AS best_row, shelf, {price} AS best_price, published_ms AS best_ms, hash AS best_hash \
         FROM orders WHERE status = 0 AND kind = {kind}"
    ));
    query.push(sequence(filter.kind, ""));
    query.push(LIMIT).push_bind(column::number("steps", steps)?);
    query.push(") WHERE shelf IN (");
    let mut list = query.separated(", ");
    for shelf in shelves {
        list.push_bind(*shelf);
    }
    let direction = direction(filter.kind);
    query.push(format_args!(") ORDER BY best_price{direction}, best_ms, best_hash"));
    push_range(query, page)?;
    query.push(") AS best JOIN orders ON orders.rowid = best.best_row");
    query.push(sequence(filter.kind, "orders."));
    Ok(())
}

pub(super) fn sequence(kind: OrderKind, of: &str) -> String {
    let price = price_column(kind);
    let direction = direction(kind);
    format!(" ORDER BY {of}{price}{direction}, {of}published_ms, {of}hash")
}

fn direction(kind: OrderKind) -> &'static str {
    if kind == OrderKind::Request { " DESC" } else { "" }
}
