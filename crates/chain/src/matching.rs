//! Making a deal in as few transactions as the hub allows.

use orders::Quartet;
use primitives::Nrlc;

use crate::calls;
use crate::error::Result;
use crate::receipt::Receipt;
use crate::wallet::Wallet;

/// Makes a deal of the sender's own request, depositing first what its stake lacks. The receipt is of the match.
///
/// One transaction, where the hub matches what comes with a deposit; hubs before 6.2 take the deposit and overlook the rest,
/// and are then sent the match by itself.
///
/// # Errors
/// The hub refuses. A deposit may have been made, which is stake for the next attempt.
pub async fn deposit_and_match(
    wallet: &Wallet,
    missing: Nrlc,
    quartet: &Quartet,
) -> Result<Receipt> {
    let client = wallet.client();
    if !missing.is_zero() {
        let call = calls::deposit_and_match(&client.contracts(), missing, quartet);
        let receipt = wallet.execute(call).await?;
        let events = receipt.events(client.hub());
        if events.iter().any(|event| event.event.deal().is_some()) {
            return Ok(receipt);
        }
        tracing::debug!("the hub took the deposit only");
    }
    wallet.execute(calls::match_orders(client.hub(), quartet)).await
}
