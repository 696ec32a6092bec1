//! Why a contract refused, in words.
//!
//! The market answers in four ways: a string (`iExecV5-matchOrders-0x20`), a `Panic` (arithmetic), a custom error, and
//! nothing at all. The last is common: most checks of a task's state revert without data.

use std::fmt;

use alloy_primitives::{B256, Bytes, hex};
use alloy_sol_types::{Panic, Revert as RevertString, SolError, SolInterface, sol};

/// A refusal by a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// What it said.
    pub reason: Reason,
    /// As it came, for those who know more errors than this crate.
    pub data: Bytes,
    /// The mined transaction; none if it was only simulated.
    pub transaction: Option<B256>,
}

/// What a contract said when it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its own words.
    Message(String),
    /// A `Panic` of the compiler: 0x01 assertion, 0x11 overflow, 0x12 division by zero, 0x32 out of bounds …
    Panic(u64),
    /// A custom error known by name, with its arguments written out.
    Custom(String),
    /// A custom error not known here.
    Selector([u8; 4]),
    /// All gas was used.
    OutOfGas,
    /// Nothing was said.
    Silent,
}

sol! {
    interface Known {
        error CallerIsNotTheRequester();
        error IncompatibleDatasetOrder(string reason);
        error OperationFailed();
        error UnsupportedOperation(bytes4 selector);
        error DealNotSettleable(bytes32 dealid);
        error DealExpired(bytes32 dealid);
        error IndexNotSettleable(uint256 index);
        error TaskNotSettleable(uint256 index, uint256 status);
        error SettlementNotAuthorized(address worker, bytes32 dealid);
        error NotContractOwner(address caller, address owner);
        error OwnableUnauthorizedAccount(address account);
        error OwnableInvalidOwner(address owner);
        error ERC721NonexistentToken(uint256 tokenId);
        error ERC721IncorrectOwner(address sender, uint256 tokenId, address owner);
        error ERC721InsufficientApproval(address operator, uint256 tokenId);
        error ERC721InvalidApprover(address approver);
        error ERC721InvalidOperator(address operator);
        error ERC721InvalidOwner(address owner);
        error ERC721InvalidReceiver(address receiver);
        error ERC721InvalidSender(address sender);
        error ERC721OutOfBoundsIndex(address owner, uint256 index);
        error ERC721EnumerableForbiddenBatchMint();
        error Create2EmptyBytecode();
        error Create2FailedDeployment();
        error Create2InsufficientBalance(uint256 balance, uint256 needed);
        error FailedDeployment();
        error InsufficientBalance(uint256 balance, uint256 needed);
        error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
        error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
        error ERC20InvalidApprover(address approver);
        error ERC20InvalidReceiver(address receiver);
        error ERC20InvalidSender(address sender);
        error ERC20InvalidSpender(address spender);
    }
}

impl Revert {
    /// Reads what a call returned when it reverted.
    pub fn decode(data: Bytes) -> Self {
        Self { reason: Reason::decode(&data), data, transaction: None }
    }

    pub(crate) fn of(mut self, transaction: B256) -> Self {
        self.transaction = Some(transaction);
        self
    }
}

impl Reason {
    fn decode(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Silent;
        }
        if let Ok(revert) = RevertString::abi_decode(data) {
            return Self::Message(revert.reason);
        }
        if let Ok(panic) = Panic::abi_decode(data) {
            return Self::Panic(panic.code.saturating_to());
        }
        if let Ok(known) = Known::KnownErrors::abi_decode(data) {
            return Self::Custom(name_of(&known));
        }
        match data.first_chunk::<4>() {
            Some(selector) => Self::Selector(*selector),
            None => Self::Silent,
        }
    }

    /// The contract's own words, if it used any.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// `UnsupportedOperation(0x12345678)`: the name with its arguments, as one would write the call.
fn name_of(error: &Known::KnownErrors) -> String {
    use Known::KnownErrors as E;
    let arguments = match error {
        E::IncompatibleDatasetOrder(e) => e.reason.clone(),
        E::UnsupportedOperation(e) => e.selector.to_string(),
        E::DealNotSettleable(e) => e.dealid.to_string(),
        E::DealExpired(e) => e.dealid.to_string(),
        E::IndexNotSettleable(e) => e.index.to_string(),
        E::TaskNotSettleable(e) => format!("{}, {}", e.index, e.status),
        E::SettlementNotAuthorized(e) => format!("{}, {}", e.worker, e.dealid),
        E::NotContractOwner(e) => format!("{}, {}", e.caller, e.owner),
        E::OwnableUnauthorizedAccount(e) => e.account.to_string(),
        E::OwnableInvalidOwner(e) => e.owner.to_string(),
        E::ERC721NonexistentToken(e) => e.tokenId.to_string(),
        E::ERC721IncorrectOwner(e) => format!("{}, {}, {}", e.sender, e.tokenId, e.owner),
        E::ERC721InsufficientApproval(e) => format!("{}, {}", e.operator, e.tokenId),
        E::Create2InsufficientBalance(e) => format!("{}, {}", e.balance, e.needed),
        E::InsufficientBalance(e) => format!("{}, {}", e.balance, e.needed),
        E::ERC20InsufficientBalance(e) => format!("{}, {}, {}", e.sender, e.balance, e.needed),
        E::ERC20InsufficientAllowance(e) => format!("{}, {}, {}", e.spender, e.allowance, e.needed),
        _ => String::new(),
    };
    let selector = error.selector();
    let name = Known::KnownErrors::name_by_selector(selector).unwrap_or("unknown");
    format!("{name}({arguments})")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Panic(0x01) => f.write_str("an assertion failed (panic 0x01)"),
            Self::Panic(0x11) => f.write_str("arithmetic overflow (panic 0x11)"),
            Self::Panic(0x12) => f.write_str("division by zero (panic 0x12)"),
            Self::Panic(0x32) => f.write_str("index out of bounds (panic 0x32)"),
            Self::Panic(code) => write!(f, "panic {code:#04x}"),
            Self::Custom(error) => f.write_str(error),
            Self::Selector(selector) => write!(f, "error 0x{}", hex::encode(selector)),
            Self::OutOfGas => f.write_str("out of gas"),
            Self::Silent => f.write_str("no reason given"),
        }
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the contract refused: {}", self.reason)?;
        match self.transaction {
            Some(transaction) => write!(f, " (transaction {transaction})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    fn check(data: impl Into<Bytes>, expected: &str) {
        assert_eq!(Revert::decode(data.into()).reason.to_string(), expected);
    }

    #[test]
    fn each_way_of_refusing_reads_as_words() {
        check(
            RevertString::from("iExecV5-matchOrders-0x20").abi_encode(),
            "iExecV5-matchOrders-0x20",
        );
        check(Panic { code: U256::from(0x11) }.abi_encode(), "arithmetic overflow (panic 0x11)");
        check(Panic { code: U256::from(0x41) }.abi_encode(), "panic 0x41");
        check(
            Known::UnsupportedOperation { selector: [1, 2, 3, 4].into() }.abi_encode(),
            "UnsupportedOperation(0x01020304)",
        );
        check(Known::OperationFailed {}.abi_encode(), "OperationFailed()");
        check(
            Known::TaskNotSettleable { index: U256::from(7), status: U256::from(3) }.abi_encode(),
            "TaskNotSettleable(7, 3)",
        );
        check(vec![0xde, 0xad, 0xbe, 0xef, 0], "error 0xdeadbeef");
        check(vec![], "no reason given");
        check(vec![1], "no reason given");
    }
}
