//! Where it must run. Orders know no places: a workerpool says where its workers are, in what its owner signs beside its
//! offers, and whoever wants a place names a workerpool that is there.
//!
//! What a workerpool says is taken for what it is worth: nobody can check where a machine is. Of one that says nothing, nothing is
//! known, so it is not counted as being anywhere.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use orders::{OrderKind, RequestOrder};
use primitives::Tag;
use store::{OrderFilter, OrderRow, Party};
use wire::UnixMillis;
use wire::market::{Remedy, Why};

use super::computing;
use crate::Error;
use crate::book::Book;

/// Workerpools looked at in a region, and regions named in an answer.
const POOLS_MAX: usize = 16;
const REGIONS_MAX: usize = 8;

/// A region, and who is there.
pub(super) struct Place {
    region: String,
    /// Workerpools with workers there, and whether any of these has a GPU.
    there: BTreeMap<Address, bool>,
    /// Regions that workerpools name.
    others: BTreeSet<String>,
}

impl Place {
    pub(super) fn of(book: &Book, region: &str) -> Self {
        let mut there = BTreeMap::new();
        let mut others = BTreeSet::new();
        for (workerpool, machines) in book.claims.machines(UnixMillis::now()) {
            for group in machines {
                if group.are_in(region) {
                    *there.entry(workerpool).or_default() |= group.gpu;
                } else {
                    others.extend(group.region);
                }
            }
        }
        while there.len() > POOLS_MAX {
            there.pop_last();
        }
        Self { region: region.to_owned(), there, others }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Open offers of computing there. An offer with a GPU of a workerpool that has none there is not one.
    pub(super) async fn computing(
        &self,
        book: &Book,
        request: &RequestOrder,
    ) -> Result<Vec<OrderRow>, Error> {
        let mut rows = Vec::new();
        for (workerpool, gpu) in &self.there {
            let offers = computing(book, request, Some(*workerpool)).await?;
            let in_vain = |row: &OrderRow| {
                !gpu && request.tag.contains(Tag::GPU) && row.tag.contains(Tag::GPU)
            };
            rows.extend(offers.into_iter().filter(|row| !in_vain(row)));
        }
        Ok(rows)
    }

    /// How many offers of those there are by workerpools that are there.
    pub(super) async fn count_open(&self, book: &Book, filter: &OrderFilter) -> Result<u64, Error> {
        let mut count: u64 = 0;
        for workerpool in self.there.keys() {
            let filter = OrderFilter { workerpool: Party::Is(*workerpool), ..filter.clone() };
            count = count.saturating_add(book.store.count_open(&filter).await?);
        }
        Ok(count)
    }

    /// What to say when nobody there offers anything.
    pub(super) async fn has_nothing(
        &self,
        book: &Book,
        request: &RequestOrder,
    ) -> Result<Why, Error> {
        let anywhere = OrderFilter {
            category: Some(request.category.saturating_to()),
            min_tag: (request.tag != Tag::NONE).then_some(request.tag),
            app: Party::Admits(request.app),
            dataset: Party::Admits(request.dataset),
            requester: Party::Admits(request.requester),
            ..OrderFilter::all(OrderKind::Workerpool)
        };
        let count = book.store.count_open(&anywhere).await?;
        let regions: Vec<_> = self.others.iter().take(REGIONS_MAX).map(String::as_str).collect();
        let text = if regions.is_empty() {
            "leave the region out: no workerpool says where else its workers are".to_owned()
        } else {
            format!("leave the region out, or ask for one of: {}", regions.join(", "))
        };
        Ok(Why {
            matches: false,
            code: Some("region".to_owned()),
            what: format!("no offer in region {}; {count} elsewhere or unsaid", self.region),
            remedies: vec![Remedy { text, ..Remedy::default() }],
            offers: None,
        })
    }

    /// Of a request that can be matched there: what sees to it that it is.
    pub(super) fn show(&self, why: &mut Why, request: &RequestOrder, workerpool: Address) {
        why.what = format!("{} in region {}", why.what, self.region);
        let mut remedy = Remedy { besides: true, offers: why.offers.clone(), ..Remedy::default() };
        self.name(&mut remedy, request, workerpool);
        if !remedy.change.is_empty() {
            why.remedies.push(remedy);
        }
    }

    /// Has a remedy name the workerpool, unless the request does, or the remedy.
    pub(super) fn name(&self, remedy: &mut Remedy, request: &RequestOrder, workerpool: Address) {
        if request.workerpool == workerpool || remedy.change.contains_key("workerpool") {
            return;
        }
        let naming = format!("set workerpool to {workerpool}, which is in region {}", self.region);
        let and = if remedy.text.is_empty() { "" } else { " and " };
        remedy.text = format!("{}{and}{naming}", remedy.text);
        remedy.change.insert("workerpool".to_owned(), workerpool.to_checksum(None).into());
    }
}
