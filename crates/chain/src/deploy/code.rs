//! Whether code on a chain is the code we have, apart from what its constructor filled in.

use alloy_primitives::B256;

const PUSH32: u8 = 0x7f;
const WORD: usize = 32;

/// What the constructor put in place of the immutables that it set, if `deployed` is otherwise a contract that
/// `creation` contains: the one that it makes, or one that it makes on the way.
///
/// A compiler leaves a word of zeros in a `PUSH32` for every use of an immutable.
pub(super) fn immutables(creation: &[u8], deployed: &[u8]) -> Option<Vec<B256>> {
    if deployed.is_empty() {
        return None;
    }
    creation.windows(deployed.len()).find_map(|template| filled_in(template, deployed))
}

fn filled_in(template: &[u8], deployed: &[u8]) -> Option<Vec<B256>> {
    let mut values = Vec::new();
    let mut at = 0;
    while at < deployed.len() {
        if template[at] == deployed[at] {
            at += 1;
            continue;
        }
        let word = hole(template, at)?;
        values.push(B256::from_slice(&deployed[word..word + WORD]));
        at = word + WORD;
    }
    Some(values)
}

/// Where the word begins that was left free around that place.
fn hole(template: &[u8], at: usize) -> Option<usize> {
    let starts = at.saturating_sub(WORD - 1).max(1)..=at;
    starts.into_iter().find(|start| {
        let word = template.get(*start..start + WORD);
        template[start - 1] == PUSH32 && word.is_some_and(|word| word.iter().all(|byte| *byte == 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLED: u8 = 7;

    /// Code with one immutable in it, free or filled.
    fn code(fill: u8) -> Vec<u8> {
        let mut code = vec![1, 2, 0, 0, PUSH32];
        code.extend([0; 12]);
        code.extend([fill; 20]);
        code.extend([3, 0, 4]);
        code
    }

    fn check(creation: &[u8], deployed: &[u8], expected: Option<usize>) {
        let found = immutables(creation, deployed);
        assert_eq!(found.as_ref().map(Vec::len), expected, "{creation:?} {deployed:?}");
        for value in found.into_iter().flatten() {
            assert_eq!(value[..12], [0; 12]);
            assert_eq!(value[12..], [FILLED; 20]);
        }
    }

    #[test]
    fn only_words_left_free_may_differ() {
        let creation = [&[9, 9, 9][..], &code(0), &[5, 5]].concat();
        check(&creation, &code(0), Some(0));
        check(&creation, &code(FILLED), Some(1));
        let mut other = code(FILLED);
        other[2] = 1;
        check(&creation, &other, None);
        let mut other = code(FILLED);
        *other.last_mut().unwrap() = 9;
        check(&creation, &other, None);
        check(&creation, &[], None);
        check(&code(0)[1..], &code(0), None);
    }
}
