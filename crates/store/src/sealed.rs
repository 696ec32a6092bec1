//! What a vault keeps: boxes that only it can open.
//!
//! These are written at once and by themselves, not through [`crate::Change`]: whether a row was added decides who of
//! several callers was first.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Connection, SqliteConnection};

use crate::column::{self, Columns};
use crate::{Error, Result, Store};

/// A box and what is written on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// What kind of thing is in it; the vault's word.
    pub kind: String,
    /// Whose.
    pub owner: Vec<u8>,
    /// Its name among those of its kind and owner.
    pub name: String,
    /// How often it was changed.
    pub version: u64,
    /// The ciphertext.
    pub sealed: Vec<u8>,
    /// From when on it may be forgotten, in seconds since 1970; 0 for never.
    pub expires_s: u64,
}

impl Store {
    /// The box of that kind, owner and name.
    pub async fn sealed(&self, kind: &str, owner: &[u8], name: &str) -> Result<Option<SealedRow>> {
        let row = sqlx::query("SELECT * FROM sealed WHERE kind = $1 AND owner = $2 AND name = $3")
            .bind(kind)
            .bind(owner)
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read a sealed box"))?;
        row.as_ref().map(read).transpose()
    }

    /// Keeps a box unless there is one of that kind, owner and name; says whether it was kept.
    pub async fn add_sealed(&self, row: &SealedRow) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO sealed (kind, owner, name, version, box, expires_s) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, owner, name) DO NOTHING",
        )
        .bind(row.kind.as_str())
        .bind(row.owner.as_slice())
        .bind(row.name.as_str())
        .bind(column::number("a box's version", row.version)?)
        .bind(row.sealed.as_slice())
        .bind(column::number("a box's expiry", row.expires_s)?)
        .execute(self.pool())
        .await
        .map_err(Error::query("keep a sealed box"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts a box in the place of another, which must still be exactly `old`; says whether it was.
    pub async fn replace_sealed(&self, old: &SealedRow, new: &SealedRow) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE sealed SET version = $4, box = $5, expires_s = $6 \
             WHERE kind = $1 AND owner = $2 AND name = $3 AND version = $7 AND box = $8",
        )
        .bind(old.kind.as_str())
        .bind(old.owner.as_slice())
        .bind(old.name.as_str())
        .bind(column::number("a box's version", new.version)?)
        .bind(new.sealed.as_slice())
        .bind(column::number("a box's expiry", new.expires_s)?)
        .bind(column::number("a box's version", old.version)?)
        .bind(old.sealed.as_slice())
        .execute(self.pool())
        .await
        .map_err(Error::query("replace a sealed box"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Boxes in the sequence of kind, owner and name, after that one.
    pub async fn sealed_after(
        &self,
        after: Option<&SealedRow>,
        limit: u32,
    ) -> Result<Vec<SealedRow>> {
        let (kind, owner, name) = after.map_or(("", [].as_slice(), ""), |row| {
            (row.kind.as_str(), row.owner.as_slice(), row.name.as_str())
        });
        let rows = sqlx::query(
            "SELECT * FROM sealed WHERE (kind, owner, name) > ($1, $2, $3) \
             ORDER BY kind, owner, name LIMIT +$4",
        )
        .bind(kind)
        .bind(owner)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await
        .map_err(Error::query("read sealed boxes"))?;
        rows.iter().map(read).collect()
    }

    /// Copies the whole database into a file, which must not exist; others may read and write meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let copied = sqlx::query("VACUUM INTO $1").bind(path.to_string_lossy().into_owned());
        copied.execute(self.pool()).await.map_err(Error::query("copy itself"))?;
        Ok(())
    }

    /// Puts the boxes of such a copy in the place of all that are here, or none.
    pub async fn take_sealed_from(&self, path: &Path) -> Result<()> {
        let failed = Error::query("take boxes from a copy");
        let taken = async {
            let mut connection = self.pool().acquire().await?;
            let attach = sqlx::query("ATTACH $1 AS copy").bind(path.to_string_lossy().into_owned());
            attach.execute(&mut *connection).await?;
            let taken = take_attached(&mut connection).await;
            sqlx::query("DETACH copy").execute(&mut *connection).await?;
            taken
        };
        taken.await.map_err(failed)
    }

    /// How many boxes of that kind there are.
    pub async fn sealed_count(&self, kind: &str) -> Result<u64> {
        let row = sqlx::query("SELECT COUNT(*) AS count FROM sealed WHERE kind = $1")
            .bind(kind)
            .fetch_one(self.pool())
            .await
            .map_err(Error::query("count sealed boxes"))?;
        Columns(&row).number("count")
    }

    /// Forgets the boxes of that kind that expired before `now_s`; says how many.
    pub async fn forget_sealed(&self, kind: &str, now_s: u64) -> Result<u64> {
        let done =
            sqlx::query("DELETE FROM sealed WHERE kind = $1 AND expires_s > 0 AND expires_s < $2")
                .bind(kind)
                .bind(column::number("the time", now_s)?)
                .execute(self.pool())
                .await
                .map_err(Error::query("forget sealed boxes"))?;
        Ok(done.rows_affected())
    }
}

/// The box of that kind, owner and name in a copy that [`Store::copy_to`] made; the copy is only read.
pub async fn sealed_in_copy(
    path: &Path,
    kind: &str,
    owner: &[u8],
    name: &str,
) -> Result<Option<SealedRow>> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let found = async {
        let mut copy = SqliteConnection::connect_with(&options).await?;
        let row = sqlx::query("SELECT * FROM sealed WHERE kind = $1 AND owner = $2 AND name = $3")
            .bind(kind)
            .bind(owner)
            .bind(name)
            .fetch_optional(&mut copy)
            .await?;
        copy.close().await?;
        Ok(row)
    };
    let row = found.await.map_err(Error::query("read a copy"))?;
    row.as_ref().map(read).transpose()
}

async fn take_attached(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for sql in [
        "DELETE FROM main.sealed",
        "INSERT INTO main.sealed (kind, owner, name, version, box, expires_s) \
         SELECT kind, owner, name, version, box, expires_s FROM copy.sealed",
    ] {
        sqlx::query(sql).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn read(row: &SqliteRow) -> Result<SealedRow> {
    let from = Columns(row);
    Ok(SealedRow {
        kind: from.text("kind")?,
        owner: from.bytes("owner")?.to_vec(),
        name: from.text("name")?,
        version: from.number("version")?,
        sealed: from.bytes("box")?.to_vec(),
        expires_s: from.number("expires_s")?,
    })
}
