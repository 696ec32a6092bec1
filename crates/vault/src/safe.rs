//! Secrets at rest: what goes into the store is sealed, what comes out is opened, and both are bound to their name.

use std::path::Path;

use seal::Secret;
use seal::challenge::SecretId;
use seal::rest::{Keyring, Label, RestError};
use store::{SealedRow, Store, sealed_in_copy};

use crate::Error;
use crate::keys::os_entropy;

/// A row by which a wrong key is noticed before a secret is asked for.
const CHECK: &str = "check";
const CHECK_TEXT: &[u8] = b"gristmill";
/// Rows that are sealed anew at a time.
const PAGE_LEN: u32 = 500;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys of datasets.
    Dataset,
    /// Named secrets of accounts.
    Named,
    /// Requesters' secrets for programs.
    Requester,
    /// Secrets of apps' developers.
    App,
    /// Keys of enclaves, made here.
    Enclave,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Named => "named",
            Self::Requester => "requester",
            Self::App => "app",
            Self::Enclave => "enclave",
        }
    }
}

/// The name of something kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) owner: Vec<u8>,
    pub(crate) name: String,
}

/// Where a secret is kept. Names of an account's secrets are the same in any letter case, those of a requester's are not.
impl From<&SecretId> for Place {
    fn from(id: &SecretId) -> Self {
        let (kind, name) = match id {
            SecretId::Dataset(_) => (Kind::Dataset, String::new()),
            SecretId::Named { name, .. } => (Kind::Named, name.to_lowercase()),
            SecretId::Requester { key, .. } => (Kind::Requester, key.clone()),
            SecretId::App(_) => (Kind::App, seal::challenge::APP_SECRET_INDEX.to_owned()),
        };
        Self { kind, owner: id.address().to_vec(), name }
    }
}

/// The store, seen through the storage key.
pub(crate) struct Safe {
    store: Store,
    keys: Keyring,
}

impl Safe {
    /// Opens it: checks that the key is the one that was used before, and seals with the current key whatever an older one
    /// has sealed.
    pub(crate) async fn open(store: Store, keys: Keyring) -> Result<Self, Error> {
        let safe = Self { store, keys };
        safe.check_key().await?;
        safe.reseal().await?;
        Ok(safe)
    }

    pub(crate) async fn has(&self, place: &Place) -> Result<bool, Error> {
        Ok(self.row(place).await?.is_some())
    }

    /// The secret that is kept there.
    pub(crate) async fn get(&self, place: &Place) -> Result<Option<Secret<Vec<u8>>>, Error> {
        match self.row(place).await? {
            Some(row) => self.unseal(&row).map(Some),
            None => Ok(None),
        }
    }

    /// [`Self::get`] as text.
    pub(crate) async fn text(&self, id: &SecretId) -> Result<Option<Secret<String>>, Error> {
        match self.get(&Place::from(id)).await? {
            Some(bytes) => bytes.into_text().map(Some).ok_or(Error::Altered),
            None => Ok(None),
        }
    }

    /// Keeps it unless something is there; says whether it was kept.
    pub(crate) async fn add(
        &self,
        place: &Place,
        secret: &[u8],
        expires_s: u64,
    ) -> Result<bool, Error> {
        let row = self.seal(place, 1, secret, expires_s)?;
        Ok(self.store.add_sealed(&row).await?)
    }

    /// Puts it in the place of what is there; says whether something was. Of several at once the last one stays.
    pub(crate) async fn replace(&self, place: &Place, secret: &[u8]) -> Result<bool, Error> {
        while let Some(old) = self.row(place).await? {
            let new = self.seal(place, old.version.saturating_add(1), secret, old.expires_s)?;
            if self.store.replace_sealed(&old, &new).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn count(&self, kind: Kind) -> Result<u64, Error> {
        Ok(self.store.sealed_count(kind.word()).await?)
    }

    /// Forgets what expired before that time.
    pub(crate) async fn forget(&self, kind: Kind, now_s: u64) -> Result<u64, Error> {
        Ok(self.store.forget_sealed(kind.word(), now_s).await?)
    }

    /// Copies all of it, as it is sealed, into a file that must not exist.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        Ok(self.store.copy_to(path).await?)
    }

    /// Forgets everything and takes what such a copy holds, if it was sealed with a key that is known here.
    pub(crate) async fn restore(&self, path: &Path) -> Result<(), Error> {
        let check = sealed_in_copy(path, CHECK, &[], "").await;
        // What is no database is no backup.
        let check = check.map_err(|_| Error::Altered)?.ok_or(Error::Altered)?;
        self.unseal(&check)?;
        self.store.take_sealed_from(path).await?;
        self.reseal().await
    }

    async fn row(&self, place: &Place) -> Result<Option<SealedRow>, Error> {
        Ok(self.store.sealed(place.kind.word(), &place.owner, &place.name).await?)
    }

    fn seal(
        &self,
        place: &Place,
        version: u64,
        secret: &[u8],
        expires_s: u64,
    ) -> Result<SealedRow, Error> {
        let row = SealedRow {
            kind: place.kind.word().to_owned(),
            owner: place.owner.clone(),
            name: place.name.clone(),
            version,
            sealed: Vec::new(),
            expires_s,
        };
        self.sealed(row, secret)
    }

    fn sealed(&self, row: SealedRow, secret: &[u8]) -> Result<SealedRow, Error> {
        let sealed = self.keys.seal(label(&row), secret, &mut os_entropy).map_err(unopened)?;
        Ok(SealedRow { sealed, ..row })
    }

    fn unseal(&self, row: &SealedRow) -> Result<Secret<Vec<u8>>, Error> {
        self.keys.open(label(row), &row.sealed).map_err(unopened)
    }

    async fn check_key(&self) -> Result<(), Error> {
        let row = SealedRow {
            kind: CHECK.into(),
            owner: Vec::new(),
            name: String::new(),
            version: 1,
            sealed: Vec::new(),
            expires_s: 0,
        };
        let row = self.sealed(row, CHECK_TEXT)?;
        self.store.add_sealed(&row).await?;
        let kept = self.store.sealed(CHECK, &[], "").await?.ok_or(Error::Altered)?;
        self.unseal(&kept).map(drop)
    }

    async fn reseal(&self) -> Result<(), Error> {
        let mut last: Option<SealedRow> = None;
        let mut resealed = 0u64;
        loop {
            let page = self.store.sealed_after(last.as_ref(), PAGE_LEN).await?;
            for row in page.iter().filter(|row| !self.keys.is_current(&row.sealed)) {
                let secret = self.unseal(row)?;
                let new = self.sealed(row.clone(), secret.expose())?;
                // If it is not what it was, another process has just written it, with its own current key.
                resealed += u64::from(self.store.replace_sealed(row, &new).await?);
            }
            match page.into_iter().next_back() {
                Some(row) => last = Some(row),
                None => break,
            }
        }
        if resealed > 0 {
            tracing::info!(target: "vault::audit", resealed, "secrets are sealed with the current key");
        }
        Ok(())
    }
}

fn label(row: &SealedRow) -> Label<'_> {
    Label { kind: &row.kind, owner: &row.owner, name: &row.name, version: row.version }
}

fn unopened(error: RestError) -> Error {
    match error {
        RestError::UnknownKey | RestError::Key => Error::WrongKey,
        RestError::Altered => Error::Altered,
    }
}
