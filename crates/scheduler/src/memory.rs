//! What is known of workers, from the store and into it.
//!
//! Records and the block up to which they count are written together, so a crash loses nothing but what only this process
//! had seen of the last second's tasks; what the chain says of them is counted when it is read again.

use alloy_primitives::{Address, B256};
use store::{Change, Cursor, Store};

use crate::error::Error;
use crate::reputation::{Ledger, Record};

/// What was kept; nothing at first. A text that cannot be read is of a later version, and forgotten.
pub(crate) async fn read(store: &Store, workerpool: Address) -> Result<Ledger, Error> {
    let cursor = store.cursor(&name(workerpool)).await.map_err(Error::Store)?;
    let rows = store.reputations(workerpool).await.map_err(Error::Store)?;
    let mut pool = Record::default();
    let mut workers = Vec::with_capacity(rows.len());
    for (worker, text) in rows {
        match serde_json::from_str(&text) {
            Ok(record) if worker.is_zero() => pool = record,
            Ok(record) => workers.push((worker, record)),
            Err(error) => tracing::warn!(%worker, %error, "what was known of a worker is lost"),
        }
    }
    Ok(Ledger::kept(pool, workers, cursor.map_or(0, |cursor| cursor.number)))
}

/// What has to be written, and about whom; empty if nothing has changed.
pub(crate) fn changes(ledger: &mut Ledger, workerpool: Address) -> (Vec<Address>, Vec<Change>) {
    let workers = ledger.changed();
    if workers.is_empty() {
        return (workers, Vec::new());
    }
    let put = |worker: Address, record: &Record| {
        let record = serde_json::to_string(record).ok()?;
        Some(Change::PutReputation { workerpool, worker, record })
    };
    let of_worker = |worker: &Address| put(*worker, ledger.get(*worker)?);
    let mut changes: Vec<_> = workers.iter().filter_map(of_worker).collect();
    changes.extend(put(Address::ZERO, ledger.pool()));
    let cursor = Cursor { number: ledger.block(), hash: B256::ZERO };
    changes.push(Change::Cursor { name: name(workerpool), cursor });
    (workers, changes)
}

fn name(workerpool: Address) -> String {
    format!("reputation:{workerpool}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reputation::Lesson;

    #[tokio::test]
    async fn what_is_known_survives() {
        let (store, pool) = (Store::in_memory().await.unwrap(), Address::repeat_byte(9));
        let (worker, mut record) = (Address::repeat_byte(1), Record::default());
        record.learn(Lesson::Wrong { canary: true, close: false });
        let mut ledger = Ledger::kept(record.clone(), [(worker, record)], 7);
        assert_eq!(changes(&mut ledger, pool), (Vec::new(), Vec::new()));

        ledger.again([worker]);
        let (whom, written) = changes(&mut ledger, pool);
        assert_eq!((whom, written.len()), (vec![worker], 3));
        store.apply(written).await.unwrap();
        assert_eq!(read(&store, pool).await.unwrap(), ledger);
        assert_eq!(read(&store, worker).await.unwrap(), Ledger::default());
    }
}
