//! Changing the state without a transaction, and other things that only a development chain can do.

use alloy_primitives::{Address, B256, Bytes, U256};

use super::Engine;
use crate::storage::{Account, StorageError};

impl Engine {
    /// Changes an account at once, in the state after the head block.
    pub(crate) fn edit_account(
        &mut self,
        address: Address,
        edit: impl FnOnce(&mut Account),
    ) -> Result<(), StorageError> {
        let mut account = self.overlay.account(address)?;
        edit(&mut account);
        self.overlay.set_account(address, account);
        self.write_edit()?;
        self.shared.pool.lock().forget_below(address, account.nonce);
        Ok(())
    }

    pub(crate) fn edit_code(&mut self, address: Address, code: &Bytes) -> Result<(), StorageError> {
        self.overlay.set_code(address, code)?;
        self.write_edit()
    }

    pub(crate) fn edit_slot(
        &mut self,
        address: Address,
        slot: U256,
        value: U256,
    ) -> Result<(), StorageError> {
        self.overlay.set_slot(address, slot, value);
        self.write_edit()
    }

    /// Changes how the next blocks are made.
    pub(crate) fn edit_head(&mut self, edit: impl FnOnce(&mut crate::shared::Head)) {
        edit(&mut self.head);
        self.shared.set_head(self.head.clone());
    }

    pub(crate) fn drop_transaction(&mut self, hash: &B256) -> bool {
        self.shared.pool.lock().remove(hash).is_some()
    }

    pub(crate) fn drop_all_transactions(&mut self) {
        self.shared.pool.lock().clear();
    }

    /// An edit is a version of its own that belongs to the head block, so that history and undoing know it. The head
    /// block's header is what it was; the next one's root has the edit in it.
    fn write_edit(&mut self) -> Result<(), StorageError> {
        let changes = self.overlay.take_changes();
        let mut head = self.head.block.clone();
        head.version += 1;
        let written = self.database.write(|writer| {
            writer.apply(head.version, &changes)?;
            writer.put_head(&head)
        });
        if let Err(error) = written {
            self.reload()?;
            return Err(error);
        }
        self.adopt(head)
    }
}
