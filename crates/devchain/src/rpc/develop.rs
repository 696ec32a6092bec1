//! Methods that only a development chain has: `evm_*`, `hardhat_*`, `anvil_*`.
//!
//! The last two are the same under both names, since tools use whichever they were written for.

use alloy_consensus::{TxEnvelope, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde_json::{Value, json};

use super::{Answer, RequestError, Rpc, answer, nothing, params::Params, quantity, send};
use crate::{Mining, engine::Engine, storage::StorageError};

/// Blocks that may be mined by one request.
const MINE_MAX: u64 = 100_000;
/// Blocks mined between letting others have a turn.
const MINE_TURN: u64 = 256;
/// Deepest reorganisation on request.
pub(super) const REORG_MAX: u64 = 256;

impl Rpc {
    pub(super) async fn develop(&self, method: &str, params: &Params) -> Answer {
        let name = method.split_once('_').map_or("", |(_, name)| name);
        match (method, name) {
            ("evm_mine", _) => self.evm_mine(params).await,
            ("evm_increaseTime", _) => self.increase_time(params).await,
            ("evm_setNextBlockTimestamp", _) => self.set_next_timestamp(params).await,
            ("evm_setTime" | "anvil_setTime", _) => self.set_time(params).await,
            ("evm_setAutomine", _) => self.set_automine(params).await,
            ("evm_getAutomine" | "hardhat_getAutomine" | "anvil_getAutomine", _) => {
                let mining = self.chain.run(|engine| engine.mining()).await?;
                answer(mining == Mining::Instant)
            }
            ("evm_setIntervalMining", _) => self.set_interval(params).await,
            ("evm_snapshot" | "anvil_snapshot", _) => {
                let id = self.chain.run(Engine::snapshot).await??;
                quantity(id)
            }
            ("evm_revert" | "anvil_revert", _) => {
                let id = params.number(0)?;
                answer(self.chain.run(move |engine| engine.revert(id)).await??)
            }
            ("evm_setBlockGasLimit", _) => {
                let limit = params.number(0)?;
                self.edit_head(move |head| head.gas_limit = limit).await?;
                answer(true)
            }
            _ if method.starts_with("evm_") => Err(RequestError::unknown_method(method)),
            (_, name) => self.develop_either(method, name, params).await,
        }
    }

    async fn develop_either(&self, method: &str, name: &str, params: &Params) -> Answer {
        match name {
            "mine" => self.mine_many(params).await,
            "setBalance" => {
                let (address, balance) = (params.get(0)?, params.get::<U256>(1)?);
                self.edit(move |engine| engine.edit_account(address, |it| it.balance = balance))
                    .await
            }
            "setNonce" => {
                let (address, nonce) = (params.get(0)?, params.number(1)?);
                self.edit(move |engine| engine.edit_account(address, |it| it.nonce = nonce)).await
            }
            "setCode" => {
                let (address, code) = (params.get(0)?, params.get::<Bytes>(1)?);
                self.edit(move |engine| engine.edit_code(address, &code)).await
            }
            "setStorageAt" => {
                let (address, slot) = (params.get(0)?, params.get::<U256>(1)?);
                let value = word(&params.get(2)?)?;
                self.edit(move |engine| engine.edit_slot(address, slot, value)).await?;
                answer(true)
            }
            "setCoinbase" => {
                let coinbase = params.get(0)?;
                self.edit_head(move |head| head.coinbase = coinbase).await
            }
            "setNextBlockBaseFeePerGas" => {
                let fee = params.number(0)?;
                self.edit_head(move |head| head.base_fee = fee).await
            }
            "impersonateAccount" => {
                self.shared().impersonated.write().accounts.insert(params.get(0)?);
                nothing()
            }
            "stopImpersonatingAccount" => {
                let address: Address = params.get(0)?;
                self.shared().impersonated.write().accounts.remove(&address);
                nothing()
            }
            "autoImpersonateAccount" => {
                self.shared().impersonated.write().everybody = params.get(0)?;
                nothing()
            }
            "dropTransaction" => {
                let hash: B256 = params.get(0)?;
                let dropped = self.chain.run(move |engine| engine.drop_transaction(&hash)).await?;
                answer(dropped.then_some(hash))
            }
            "dropAllTransactions" => {
                self.chain.run(Engine::drop_all_transactions).await?;
                nothing()
            }
            "setNextBlockTimestamp" => self.set_next_timestamp(params).await,
            "increaseTime" => self.increase_time(params).await,
            "setAutomine" => self.set_automine(params).await,
            "setIntervalMining" => self.set_interval(params).await,
            "setBlockGasLimit" => {
                let limit = params.number(0)?;
                self.edit_head(move |head| head.gas_limit = limit).await?;
                answer(true)
            }
            "rollback" => {
                let depth = depth(params)?;
                self.chain.run(move |engine| engine.rollback(depth)).await??;
                nothing()
            }
            "reorg" => self.reorg(params).await,
            "nodeInfo" | "metadata" => self.node_info(),
            "setLoggingEnabled" => nothing(),
            _ => Err(RequestError::unknown_method(method)),
        }
    }

    async fn evm_mine(&self, params: &Params) -> Answer {
        // Either the timestamp itself, or options as ganache has them.
        let options = params.value(0).filter(|it| it.is_object());
        let (time, blocks) = match options {
            Some(options) => {
                let number = |key: &str| Params::new(Some(json!([options[key]])))?.opt_number(0);
                (number("timestamp")?, number("blocks")?.unwrap_or(1))
            }
            None => (params.opt_number(0)?, 1),
        };
        if let Some(time) = time {
            self.check_time(time)?;
            self.edit_head(move |head| head.clock.set_next(time)).await?;
        }
        self.mine(blocks, 0).await?;
        answer("0x0")
    }

    async fn mine_many(&self, params: &Params) -> Answer {
        let blocks = params.opt_number(0)?.unwrap_or(1);
        let seconds_apart = params.opt_number(1)?.unwrap_or_default();
        self.mine(blocks, seconds_apart).await?;
        nothing()
    }

    async fn mine(&self, blocks: u64, seconds_apart: u64) -> Result<(), RequestError> {
        if blocks > MINE_MAX {
            return Err(RequestError::params(format!("at most {MINE_MAX} blocks at once")));
        }
        let mut mined = 0;
        while mined < blocks {
            let turn = (blocks - mined).min(MINE_TURN);
            let first = mined == 0;
            self.chain
                .run(move |engine| {
                    for index in 0..turn {
                        if seconds_apart > 0 && !(first && index == 0) {
                            engine.edit_head(|head| {
                                let parent = head.block.header.timestamp;
                                head.clock.set_next(parent.saturating_add(seconds_apart));
                            });
                        }
                        engine.mine_block()?;
                    }
                    Ok::<_, StorageError>(())
                })
                .await??;
            mined += turn;
        }
        Ok(())
    }

    async fn increase_time(&self, params: &Params) -> Answer {
        let seconds = i64::try_from(params.number(0)?)
            .map_err(|_| RequestError::params("too far in the future"))?;
        let offset = self
            .chain
            .run(move |engine| {
                let mut offset = 0;
                engine.edit_head(|head| offset = head.clock.increase(seconds));
                offset
            })
            .await?;
        answer(offset)
    }

    async fn set_next_timestamp(&self, params: &Params) -> Answer {
        let time = params.number(0)?;
        self.check_time(time)?;
        self.edit_head(move |head| head.clock.set_next(time)).await
    }

    async fn set_time(&self, params: &Params) -> Answer {
        let time = params.number(0)?;
        // JavaScript counts in milliseconds.
        let time = if time > 100_000_000_000 { time / 1_000 } else { time };
        self.check_time(time)?;
        self.edit_head(move |head| head.clock.set(time)).await?;
        answer(0)
    }

    fn check_time(&self, time: u64) -> Result<(), RequestError> {
        let parent = self.head().block.header.timestamp;
        if time < parent {
            return Err(RequestError::params(format!(
                "timestamp {time} is before the previous block's, {parent}"
            )));
        }
        Ok(())
    }

    async fn set_automine(&self, params: &Params) -> Answer {
        let instant: bool = params.get(0)?;
        self.chain
            .run(move |engine| match engine.mining() {
                // Ending instant mining does not end another kind.
                Mining::Interval(_) | Mining::Manual if !instant => {}
                Mining::Instant if instant => {}
                _ => engine.set_mining(if instant { Mining::Instant } else { Mining::Manual }),
            })
            .await?;
        answer(true)
    }

    async fn set_interval(&self, params: &Params) -> Answer {
        // Hardhat takes a range too, of which any time will do.
        let ms = match params.value(0) {
            Some(Value::Array(range)) => {
                Params::new(Some(Value::Array(range.clone())))?.number(0)?
            }
            _ => params.number(0)?,
        };
        let mining = if ms == 0 { Mining::Manual } else { Mining::Interval(ms) };
        self.chain
            .run(move |engine| {
                // Zero ends interval mining; it does not end instant mining.
                if ms > 0 || engine.mining() != Mining::Instant {
                    engine.set_mining(mining);
                }
            })
            .await?;
        answer(true)
    }

    async fn reorg(&self, params: &Params) -> Answer {
        let depth = depth(params)?;
        let pairs: Vec<(Bytes, usize)> = params.opt(1)?.unwrap_or_default();
        let mut blocks: Vec<Vec<Recovered<TxEnvelope>>> = Vec::new();
        blocks.resize_with(usize::try_from(depth).unwrap_or_default(), Vec::new);
        for (raw, block) in pairs {
            let slot = blocks.get_mut(block).ok_or_else(|| {
                RequestError::params(format!("block {block} is beyond a depth of {depth}"))
            })?;
            slot.push(send::decode(&raw)?);
        }
        self.chain.run(move |engine| engine.reorg(depth, blocks)).await??;
        nothing()
    }

    fn node_info(&self) -> Answer {
        let head = self.head();
        answer(json!({
            "clientVersion": concat!("gristmill-devchain/", env!("CARGO_PKG_VERSION")),
            "chainId": self.shared().chain_id,
            "hardFork": "prague",
            "latestBlockNumber": U64::from(head.block.header.number),
            "latestBlockHash": head.block.hash,
        }))
    }

    async fn edit(
        &self,
        edit: impl FnOnce(&mut Engine) -> Result<(), StorageError> + Send + 'static,
    ) -> Answer {
        self.chain.run(edit).await??;
        nothing()
    }

    async fn edit_head(
        &self,
        edit: impl FnOnce(&mut crate::shared::Head) + Send + 'static,
    ) -> Answer {
        self.chain.run(move |engine| engine.edit_head(edit)).await?;
        nothing()
    }
}

fn depth(params: &Params) -> Result<u64, RequestError> {
    let depth = params.opt_number(0)?.unwrap_or(1);
    if depth > REORG_MAX {
        return Err(RequestError::params(format!("at most {REORG_MAX} blocks deep")));
    }
    Ok(depth)
}

/// A storage word given as bytes, which people do not always pad.
fn word(bytes: &Bytes) -> Result<U256, RequestError> {
    U256::try_from_be_slice(bytes)
        .ok_or_else(|| RequestError::params("a storage value has 32 bytes"))
}
