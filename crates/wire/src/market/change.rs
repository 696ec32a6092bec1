//! What changes in the book, as its live feed tells it.

use std::sync::Arc;

use orders::OrderKind;
use primitives::OrderHash;

use super::{Deal, Published};

/// One change of the book. Cheap to clone, because each listener gets its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An order is published, or came back from the dead.
    Published(Arc<Published>),
    /// An open order is good for fewer tasks than before.
    Updated(Arc<Published>),
    /// An order is not open any more: taken back, canceled, used up, or impossible to match.
    Unpublished {
        /// Of which kind.
        kind: OrderKind,
        /// Which one.
        hash: OrderHash,
    },
    /// A deal was made. Told once for each deal, also after a restart.
    DealCreated(Arc<Deal>),
}
