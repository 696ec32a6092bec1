//! Chance, handed in.

use zeroize::Zeroizing;

/// Where unpredictable bytes come from. Rules do not draw lots themselves: whoever calls them hands in the operating
/// system's generator, and a test a fixed one. Anything that fills a buffer will do.
pub trait Entropy {
    /// Fills the buffer with bytes that nobody can foretell.
    fn fill(&mut self, into: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Entropy for F {
    fn fill(&mut self, into: &mut [u8]) {
        self(into);
    }
}

/// A fixed number of unpredictable bytes, wiped when dropped.
pub(crate) fn draw<const N: usize>(entropy: &mut impl Entropy) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    entropy.fill(bytes.as_mut_slice());
    bytes
}
