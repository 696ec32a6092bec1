//! Enough stake in the hub before a contribution locks some.

use chain::{Wallet, calls};
use primitives::Nrlc;
use tokio::sync::Mutex;

use alloy_primitives::U256;

use crate::trouble::Trouble;

/// Looks after one worker's stake.
pub(crate) struct Stake {
    wallet: Wallet,
    /// What contributions on their way will lock. Held while stake is bought, so that two contributions do not count on
    /// the same free stake.
    promised: Mutex<Nrlc>,
}

impl Stake {
    pub(crate) fn new(wallet: Wallet) -> Self {
        Self { wallet, promised: Mutex::new(Nrlc::ZERO) }
    }

    /// Makes sure of that much free stake, and promises it. If there is too little, buys enough for `expected` such
    /// contributions at once, as far as the wallet has RLC.
    pub(crate) async fn ensure(&self, amount: Nrlc, expected: usize) -> Result<(), Trouble> {
        if amount == Nrlc::ZERO {
            return Ok(());
        }
        let chain = |error: chain::Error| Trouble::Chain(error.to_string());
        let mut promised = self.promised.lock().await;
        let client = self.wallet.client();
        let account = client.account(self.wallet.address()).await.map_err(chain)?;
        let needed = Nrlc(promised.0.saturating_add(amount.0));
        if account.stake < needed {
            let more = U256::from(expected.saturating_sub(1)).saturating_mul(amount.0);
            let missing = needed.0 - account.stake.0;
            let balance = client.rlc_balance(self.wallet.address()).await.map_err(chain)?;
            if balance.0 < missing {
                let short = Nrlc(missing - balance.0);
                return Err(Trouble::Stake(format!(
                    "a contribution locks {amount}, and {short} are missing in {}",
                    self.wallet.address()
                )));
            }
            let bought = Nrlc(missing.saturating_add(more).min(balance.0));
            tracing::info!(worker = %self.wallet.address(), amount = %bought, "staking");
            self.wallet
                .execute(calls::stake(&client.contracts(), bought))
                .await
                .map_err(|error| Trouble::Stake(error.reason()))?;
        }
        *promised = needed;
        Ok(())
    }

    /// The contribution is mined or will never be: the hub counts now.
    pub(crate) async fn settle(&self, amount: Nrlc) {
        let mut promised = self.promised.lock().await;
        *promised = promised.checked_sub(amount).unwrap_or(Nrlc::ZERO);
    }
}
