//! Running transactions and calls on a state.

use std::collections::BTreeMap;

use alloy_consensus::{Transaction, TxEnvelope, transaction::Recovered};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256,
    map::{AddressMap, HashMap, HashSet},
};
use revm::{
    Context, Database, DatabaseCommit, DatabaseRef, MainBuilder, MainContext,
    context::{BlockEnv, CfgEnv, TxEnv},
    primitives::hardfork::SpecId,
    state::{Account as EvmAccount, AccountInfo, AccountStatus, Bytecode},
};

use crate::storage::{Account, Changes, StateAt, StorageError};

/// The rules that the chain runs by. System calls of a beacon chain (EIP-4788, EIP-2935) do not happen here.
const SPEC: SpecId = SpecId::PRAGUE;

/// Places kept in memory between blocks before all are let go of; a place takes about 200 bytes.
const CACHED_PLACES_MAX: usize = 100_000;

/// A state with changes on top that are not written yet, and what was read of it.
pub(crate) struct Overlay {
    base: StateAt,
    accounts: AddressMap<Option<AccountInfo>>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytecode>,
    dirty_accounts: HashSet<Address>,
    dirty_slots: HashSet<(Address, U256)>,
    new_codes: BTreeMap<B256, Bytes>,
    emptied: HashSet<Address>,
}

impl Overlay {
    pub(crate) fn new(base: StateAt) -> Self {
        Self {
            base,
            accounts: AddressMap::default(),
            slots: HashMap::default(),
            codes: HashMap::default(),
            dirty_accounts: HashSet::default(),
            dirty_slots: HashSet::default(),
            new_codes: BTreeMap::new(),
            emptied: HashSet::default(),
        }
    }

    /// What was changed since the last time this was asked.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for address in self.dirty_accounts.drain() {
            let info = self.accounts.get(&address).and_then(Option::as_ref);
            changes.set_account(address, info.map(stored_account));
        }
        for (address, slot) in self.dirty_slots.drain() {
            let value = self.slots.get(&(address, slot)).copied().unwrap_or_default();
            changes.set_slot(address, slot, value);
        }
        changes.codes = std::mem::take(&mut self.new_codes);
        changes
    }

    /// Goes on upon `base`, into which the changes taken were written. What was read stays, within bounds.
    pub(crate) fn rebase(&mut self, base: StateAt) {
        self.base = base;
        if self.accounts.len() + self.slots.len() > CACHED_PLACES_MAX {
            self.accounts.clear();
            self.slots.clear();
            self.codes.clear();
        }
    }

    pub(crate) fn account(&mut self, address: Address) -> Result<Account, StorageError> {
        Ok(self.basic(address)?.as_ref().map(stored_account).unwrap_or_default())
    }

    pub(crate) fn set_account(&mut self, address: Address, account: Account) {
        let info = AccountInfo {
            nonce: account.nonce,
            balance: account.balance,
            code_hash: account.code_hash,
            code: None,
            account_id: None,
        };
        self.accounts.insert(address, (!account.is_empty()).then_some(info));
        self.dirty_accounts.insert(address);
    }

    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        self.slots.insert((address, slot), value);
        self.dirty_slots.insert((address, slot));
    }

    /// Gives an account other code. Any bytes may be code; analysis takes them as they are.
    pub(crate) fn set_code(&mut self, address: Address, code: &Bytes) -> Result<(), StorageError> {
        let mut account = self.account(address)?;
        let bytecode = Bytecode::new_raw_checked(code.clone())
            .map_err(|error| StorageError::Corrupt(error.to_string()))?;
        account.code_hash =
            if code.is_empty() { KECCAK256_EMPTY } else { alloy_primitives::keccak256(code) };
        self.set_account(address, account);
        self.add_code(account.code_hash, bytecode);
        Ok(())
    }

    /// Makes every slot of `address` that is not set from now on read as zero. Only for calls: it is not a change.
    pub(crate) fn forget_storage(&mut self, address: Address) {
        self.emptied.insert(address);
        self.slots.retain(|(owner, _), _| *owner != address);
    }

    fn add_code(&mut self, hash: B256, code: Bytecode) {
        if hash != KECCAK256_EMPTY && !code.is_empty() {
            self.new_codes.insert(hash, code.original_bytes());
            self.codes.insert(hash, code);
        }
    }
}

impl Database for Overlay {
    type Error = StorageError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, StorageError> {
        if let Some(info) = self.accounts.get(&address) {
            return Ok(info.clone());
        }
        let info = self.base.basic_ref(address)?;
        self.accounts.insert(address, info.clone());
        Ok(info)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, StorageError> {
        match self.codes.get(&hash) {
            Some(code) => Ok(code.clone()),
            None => self.base.code(hash),
        }
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StorageError> {
        if let Some(value) = self.slots.get(&(address, slot)) {
            return Ok(*value);
        }
        let emptied = self.emptied.contains(&address);
        let value = if emptied { U256::ZERO } else { self.base.slot(address, slot)? };
        self.slots.insert((address, slot), value);
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StorageError> {
        self.base.block_hash_ref(number)
    }
}

impl DatabaseCommit for Overlay {
    fn commit(&mut self, changes: AddressMap<EvmAccount>) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            self.dirty_accounts.insert(address);
            // Since Cancun only a contract made in the same transaction goes away, so it has no storage of its own yet.
            if account.is_selfdestructed() || account.is_empty() {
                self.accounts.insert(address, None);
                continue;
            }
            for (slot, value) in account.changed_storage_slots() {
                self.slots.insert((address, *slot), value.present_value());
                self.dirty_slots.insert((address, *slot));
            }
            let mut info = account.info;
            if let Some(code) = info.code.take()
                && (account.status.contains(AccountStatus::Created) || code.is_eip7702())
            {
                self.add_code(info.code_hash, code);
            }
            self.accounts.insert(address, Some(info));
        }
    }
}

/// The EVM that runs on one state.
pub(crate) type Evm<DB> =
    revm::MainnetEvm<Context<BlockEnv, TxEnv, CfgEnv, DB, revm::Journal<DB>, ()>>;

/// An EVM that runs transactions as blocks do.
pub(crate) fn for_blocks<DB: Database>(db: DB, chain_id: u64, block: BlockEnv) -> Evm<DB> {
    evm(db, block, config(chain_id))
}

/// An EVM that runs calls nobody pays for: no nonce, no funds and no base fee are asked for.
pub(crate) fn for_calls<DB: Database>(db: DB, chain_id: u64, block: BlockEnv) -> Evm<DB> {
    let mut config = config(chain_id);
    config.disable_nonce_check = true;
    config.disable_balance_check = true;
    config.disable_base_fee = true;
    config.disable_block_gas_limit = true;
    config.tx_chain_id_check = false;
    evm(db, block, config)
}

fn evm<DB: Database>(db: DB, block: BlockEnv, config: CfgEnv) -> Evm<DB> {
    Context::mainnet().with_db(db).with_block(block).with_cfg(config).build_mainnet()
}

fn config(chain_id: u64) -> CfgEnv {
    let mut config = CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id);
    // An impersonated account may well be a contract; a signature of one cannot be forged.
    config.disable_eip3607 = true;
    config
}

/// What a block tells the transactions in it.
pub(crate) fn block_env(header: &alloy_consensus::Header) -> BlockEnv {
    let mut env = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    };
    env.set_blob_excess_gas_and_price(
        0,
        revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE,
    );
    env
}

/// A transaction as the EVM wants it.
pub(crate) fn tx_env(tx: &Recovered<TxEnvelope>) -> TxEnv {
    let mut env = TxEnv {
        tx_type: tx.tx_type().into(),
        caller: tx.signer(),
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        ..TxEnv::default()
    };
    env.set_signed_authorization(tx.authorization_list().unwrap_or_default().to_vec());
    env
}

fn stored_account(info: &AccountInfo) -> Account {
    Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash }
}
