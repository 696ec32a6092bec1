//! How the store fails.

use std::sync::Arc;

/// A database that does not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or created.
    #[error("cannot open the database {path}")]
    Open {
        /// Which file.
        path: String,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// A later version of this software has written the file.
    #[error(
        "the database {path} has schema {found}, which this version does not know: use the newer \
         version that wrote it, or another data directory"
    )]
    Newer {
        /// Which file.
        path: String,
        /// The schema it has.
        found: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot bring the database {path} up to date")]
    Migrate {
        /// Which file.
        path: String,
        /// What the database said.
        source: Arc<sqlx::migrate::MigrateError>,
    },
    /// A query failed.
    #[error("the database cannot {doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// A row is not as this software writes it.
    #[error("the database holds a {what} that cannot be read")]
    Garbled {
        /// Which column or thing.
        what: &'static str,
    },
    /// A number is too large for its column.
    #[error("{what} is too large to be kept")]
    TooLarge {
        /// Which column or thing.
        what: &'static str,
    },
    /// The store is shut.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::PoolClosed => Self::Closed,
            source => Self::Query { doing, source: Arc::new(source) },
        }
    }

    /// Whether the same call may work later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Query { source, .. } => match &**source {
                sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => true,
                // 5 and 6: somebody else holds the file or the table.
                sqlx::Error::Database(error) => {
                    error.code().is_some_and(|code| matches!(code.as_ref(), "5" | "6" | "517"))
                }
                _ => false,
            },
            _ => false,
        }
    }
}
