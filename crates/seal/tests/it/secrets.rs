//! Secrets cannot be shown.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;

use seal::Secret;

/// What holds of every type …
trait Quiet {
    const SHOWS: bool = false;
}

macro_rules! shows {
    ($trait:ident, $type:ty) => {{
        // … unless the type has the trait: an inherent constant is preferred.
        struct Ask<T>(PhantomData<T>);
        impl<T> Quiet for Ask<T> {}
        #[allow(dead_code, reason = "only types that are not secrets have it")]
        impl<T: $trait> Ask<T> {
            const SHOWS: bool = true;
        }
        <Ask<$type>>::SHOWS
    }};
}

#[test]
fn no_secret_type_can_be_printed_or_copied() {
    assert!(shows!(Debug, String), "the probe works");
    assert!(!shows!(Debug, Secret<String>));
    assert!(!shows!(Display, Secret<String>));
    assert!(!shows!(Clone, Secret<String>));
    assert!(!shows!(Debug, seal::rest::StorageKey));
    assert!(!shows!(Debug, seal::rest::Keyring));
    assert!(!shows!(Debug, seal::dataset::DatasetKey));
    assert!(!shows!(Debug, seal::provision::EnclaveKey));
    assert!(!shows!(Clone, seal::provision::EnclaveKey));
}
