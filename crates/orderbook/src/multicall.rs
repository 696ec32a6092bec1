//! One `eth_call` for the same question about many orders.
//!
//! The call creates nothing: its data is a program that asks the hub once for each order and returns the words, which
//! any node runs like the constructor of a contract. So no helper contract needs to be deployed.

use alloy_primitives::{Address, B256, Bytes, U256};

const PUSH1: u8 = 0x60;
const PUSH2: u8 = 0x61;
const PUSH4: u8 = 0x63;
const PUSH20: u8 = 0x73;
const PUSH32: u8 = 0x7f;
const MSTORE: u8 = 0x52;
const SHL: u8 = 0x1b;
const GAS: u8 = 0x5a;
const STATICCALL: u8 = 0xfa;
const ISZERO: u8 = 0x15;
const JUMPI: u8 = 0x57;
const JUMPDEST: u8 = 0x5b;
const RETURN: u8 = 0xf3;
const REVERT: u8 = 0xfd;

/// Where the answers begin in memory, after the call's own data.
const ANSWERS_AT: usize = 0x40;
/// Bytes of the program: before the questions, for each question, and after them to where it gives up.
const HEAD_LEN: usize = 11;
const QUESTION_LEN: usize = 73;
const TAIL_LEN: usize = 6;
/// Questions whose places in memory and code two bytes can name, and whose program a node takes.
pub(crate) const QUESTIONS_MAX: usize = 256;

/// The program that calls `selector` of `target` with each of the words; nothing if they are too many.
pub(crate) fn program(target: Address, selector: [u8; 4], words: &[B256]) -> Option<Bytes> {
    if words.len() > QUESTIONS_MAX {
        return None;
    }
    let two = |number: usize| u16::try_from(number).ok().map(u16::to_be_bytes);
    let give_up = two(HEAD_LEN + words.len() * QUESTION_LEN + TAIL_LEN)?;
    let mut code = Vec::with_capacity(HEAD_LEN + words.len() * QUESTION_LEN + 32);
    code.push(PUSH4);
    code.extend(selector);
    code.extend([PUSH1, 0xe0, SHL, PUSH1, 0, MSTORE]);
    for (index, word) in words.iter().enumerate() {
        code.push(PUSH32);
        code.extend(word);
        code.extend([PUSH1, 4, MSTORE]);
        // From the last argument to the first: where and how long the answer is, the data, the target, the gas.
        code.extend([PUSH1, 32, PUSH2]);
        code.extend(two(ANSWERS_AT + 32 * index)?);
        code.extend([PUSH1, 36, PUSH1, 0, PUSH20]);
        code.extend(target);
        code.extend([GAS, STATICCALL, ISZERO, PUSH2]);
        code.extend(give_up);
        code.push(JUMPI);
    }
    code.push(PUSH2);
    code.extend(two(32 * words.len())?);
    code.extend([PUSH1, 0x40, RETURN]);
    code.extend([JUMPDEST, PUSH1, 0, PUSH1, 0, REVERT]);
    Some(code.into())
}

/// The words that the program returned; nothing if they are not as many as were asked for.
pub(crate) fn words(answer: &[u8], count: usize) -> Option<Vec<U256>> {
    let (words, []) = answer.as_chunks::<32>() else { return None };
    (words.len() == count).then(|| words.iter().map(|word| U256::from_be_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_as_long_as_it_says() {
        for count in [0, 1, 3, QUESTIONS_MAX] {
            let questions = vec![B256::repeat_byte(7); count];
            let code = program(Address::repeat_byte(9), [1, 2, 3, 4], &questions).expect("fits");
            let give_up = HEAD_LEN + count * QUESTION_LEN + TAIL_LEN;
            assert_eq!(code[give_up], JUMPDEST, "{count}");
            assert_eq!(code.len(), give_up + 6);
        }
        let too_many = vec![B256::ZERO; QUESTIONS_MAX + 1];
        assert_eq!(program(Address::ZERO, [0; 4], &too_many), None);
    }

    #[test]
    fn an_answer_of_another_length_is_none() {
        assert_eq!(words(&[0; 64], 2), Some(vec![U256::ZERO; 2]));
        assert_eq!(words(&[0; 64], 3), None);
        assert_eq!(words(&[0; 63], 2), None);
        assert_eq!(words(&[], 1), None);
    }
}
