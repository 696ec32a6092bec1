//! A value that must not be seen.

use zeroize::{Zeroize, Zeroizing};

/// A secret of some kind: bytes, text, a key. It has no `Debug`, `Display`, `Clone` or serialisation, so that it does
/// not get into a log, an answer or a file by accident, and its memory is wiped when it is dropped. Whoever needs the
/// value asks for it by name, and every such place is found by searching for `expose`.
///
/// ```compile_fail
/// println!("{:?}", seal::Secret::new(String::from("hush")));
/// ```
/// ```compile_fail
/// let one = seal::Secret::new(String::from("hush"));
/// let two = one.clone();
/// ```
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, to be used and not kept.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Secret<T> {
    /// A second one; a word of its own, so that copies of secrets can be counted.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Secret<Vec<u8>> {
    /// The same bytes as text, if they are UTF-8.
    pub fn into_text(mut self) -> Option<Secret<String>> {
        let bytes = std::mem::take(&mut *self.0);
        match String::from_utf8(bytes) {
            Ok(text) => Some(Secret::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                None
            }
        }
    }
}

impl Secret<String> {
    /// The same as bytes.
    pub fn into_bytes(mut self) -> Secret<Vec<u8>> {
        Secret::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_secret() {
        let secret = Secret::new("käse".to_owned()).into_bytes();
        assert_eq!(
            secret.duplicate().into_text().map(|text| text.expose().clone()),
            Some("käse".into())
        );
        assert!(Secret::new(vec![0xff, 0xfe]).into_text().is_none());
    }
}
