//! What a requester gets beside the result: who did it, what the chain agreed on, who was paid, what it cost.
//!
//! Every figure comes from the chain (events and receipts) or was computed here from what was downloaded; nothing is
//! taken from what a scheduler says, but for lines marked so.

use std::fmt::{self, Write as _};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use primitives::{DealId, Nrlc, ResultDigest, ResultHash, TaskId};
use serde_json::{Value, json};
use wire::scheduler::Confidence;

/// The receipt of one purchase.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The deal.
    pub deal: DealId,
    /// The transaction that made it.
    pub deal_tx: B256,
    /// The app that ran.
    pub app: Address,
    /// The workerpool that sold the run.
    pub workerpool: Address,
    /// The trust that was asked for, at least 1.
    pub trust: u64,
    /// What was paid for each task: app and workerpool.
    pub app_price: Nrlc,
    /// See `app_price`.
    pub workerpool_price: Nrlc,
    /// One entry a task, by index.
    pub tasks: Vec<TaskReceipt>,
    /// Everything that was paid or taken, over all tasks, in the order of the chain.
    pub payments: Vec<Payment>,
    /// Gas by kind of transaction: name, how many, sum.
    pub gas: Vec<Gas>,
    /// How long each phase took.
    pub phases: Vec<(&'static str, Duration)>,
}

/// The part of a receipt that is about one task.
#[derive(Debug, Clone)]
pub struct TaskReceipt {
    /// The task.
    pub task: TaskId,
    /// Its index in the request.
    pub index: u64,
    /// Who contributed, in the order of the chain.
    pub contributions: Vec<Contributor>,
    /// Workers that computed another result and were not let in, as the scheduler tells.
    pub left_out: Vec<Address>,
    /// How sure the result is, and how many runs that took, as the scheduler tells.
    pub confidence: Option<Confidence>,
    /// What the chain agreed on.
    pub consensus: ResultHash,
    /// The digest on chain.
    pub digest_on_chain: ResultDigest,
    /// The digest of what was downloaded; they are equal, or there would be no receipt.
    pub digest_downloaded: ResultDigest,
    /// Where the result is: `/ipfs/…`.
    pub location: String,
    /// Where its files were put, if that was asked for.
    pub out: Option<String>,
}

/// One contribution.
#[derive(Debug, Clone)]
pub struct Contributor {
    /// The worker's wallet.
    pub worker: Address,
    /// What it contributed.
    pub hash: ResultHash,
    /// Whether it was proved right.
    pub accurate: bool,
    /// Stake it lost.
    pub lost: Nrlc,
    /// Its score now.
    pub score: u64,
}

/// Money that moved.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Whose.
    pub who: Address,
    /// What that account is in this deal: app owner, worker, scheduler…
    pub role: &'static str,
    /// How much.
    pub amount: Nrlc,
    /// Taken from it rather than paid to it.
    pub taken: bool,
}

/// Gas of one kind of transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gas {
    /// What the transaction did.
    pub what: &'static str,
    /// How many there were.
    pub transactions: u64,
    /// What they used together.
    pub used: u64,
}

impl Receipt {
    /// The receipt as JSON with stable keys: amounts in nRLC as decimal text, durations in milliseconds.
    pub fn to_json(&self) -> Value {
        json!({
            "deal": self.deal.to_string(),
            "dealTransaction": self.deal_tx.to_string(),
            "app": self.app.to_string(),
            "workerpool": self.workerpool.to_string(),
            "trust": self.trust,
            "appPriceNrlc": self.app_price.0.to_string(),
            "workerpoolPriceNrlc": self.workerpool_price.0.to_string(),
            "tasks": self.tasks.iter().map(TaskReceipt::to_json).collect::<Vec<_>>(),
            "payments": self.payments.iter().map(|payment| json!({
                "account": payment.who.to_string(),
                "role": payment.role,
                "amountNrlc": payment.amount.0.to_string(),
                "direction": if payment.taken { "taken" } else { "paid" },
            })).collect::<Vec<_>>(),
            "gas": self.gas.iter().map(|gas| json!({
                "what": gas.what, "transactions": gas.transactions, "used": gas.used,
            })).collect::<Vec<_>>(),
            "phasesMs": self.phases.iter()
                .map(|(name, time)| ((*name).to_owned(), json!(millis(*time))))
                .collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl TaskReceipt {
    fn to_json(&self) -> Value {
        json!({
            "task": self.task.to_string(),
            "index": self.index,
            "contributions": self.contributions.iter().map(|one| json!({
                "worker": one.worker.to_string(),
                "resultHash": one.hash.to_string(),
                "accurate": one.accurate,
                "lostNrlc": one.lost.0.to_string(),
                "score": one.score,
            })).collect::<Vec<_>>(),
            "leftOut": self.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "confidence": self.confidence,
            "consensus": self.consensus.to_string(),
            "digestOnChain": self.digest_on_chain.to_string(),
            "digestDownloaded": self.digest_downloaded.to_string(),
            "verified": self.digest_on_chain == self.digest_downloaded,
            "location": self.location,
            "out": self.out,
        })
    }
}

/// The most tasks that the text shows one by one.
pub const TASKS_SHOWN: usize = 5;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "receipt")?;
        writeln!(f, "  deal        {}", self.deal)?;
        writeln!(f, "  app         {}", self.app)?;
        writeln!(f, "  workerpool  {}", self.workerpool)?;
        for task in self.tasks.iter().take(TASKS_SHOWN) {
            write!(f, "{task}")?;
        }
        if self.tasks.len() > TASKS_SHOWN {
            let more = self.tasks.len() - TASKS_SHOWN;
            writeln!(f, "  and {more} more tasks, each checked alike (--json shows all)")?;
        }
        write!(f, "{}", money(&self.payments))?;
        let gas: Vec<String> = self
            .gas
            .iter()
            .map(|gas| match gas.transactions {
                1 => format!("{} {}", gas.what, grouped(gas.used)),
                n => format!("{} {} ×{n}", gas.what, grouped(gas.used / n)),
            })
            .collect();
        let total: u64 = self.gas.iter().map(|gas| gas.used).sum();
        writeln!(f, "  gas         {} = {}", gas.join(" + "), grouped(total))?;
        let phases: Vec<String> =
            self.phases.iter().map(|(name, time)| format!("{name} {}", short(*time))).collect();
        write!(f, "  time        {}", phases.join(" · "))
    }
}

impl fmt::Display for TaskReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  task        {}  (index {})", self.task, self.index)?;
        for one in &self.contributions {
            let verdict = match (one.accurate, one.lost.is_zero()) {
                (true, _) => format!("right · score {}", one.score),
                (false, true) => format!("not proved · score {}", one.score),
                (false, false) => {
                    format!("WRONG · lost {} of stake · score {}", one.lost, one.score)
                }
            };
            writeln!(f, "    worker    {}  {verdict}", one.worker)?;
        }
        for worker in &self.left_out {
            writeln!(
                f,
                "    worker    {worker}  disagreed and was not let in (says the scheduler)"
            )?;
        }
        if let Some(text) = self.confidence.as_ref().and_then(sureness) {
            writeln!(f, "    surety    {text} (says the scheduler)")?;
        }
        writeln!(f, "    consensus {}", self.consensus)?;
        writeln!(f, "    digest    {}  on chain", self.digest_on_chain)?;
        writeln!(f, "              {}  of the download: the same", self.digest_downloaded)?;
        writeln!(f, "    result    {}", self.location)?;
        match &self.out {
            Some(out) => writeln!(f, "    files     {out}"),
            None => Ok(()),
        }
    }
}

/// `80.0 %, of more than 75.0 % asked, from 2 runs for 0.03 RLC`; nothing before it is known.
fn sureness(confidence: &Confidence) -> Option<String> {
    let percent = |ppm: u32| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10);
    let reached = percent(confidence.reached_ppm?);
    let runs = match confidence.runs {
        1 => "1 run".to_owned(),
        runs if runs == confidence.agreeing => format!("{runs} runs that agree"),
        runs => format!("{runs} runs, {} of which agree", confidence.agreeing),
    };
    let asked = percent(confidence.asked_ppm);
    let checked = if confidence.checked { ", one of them a check" } else { "" };
    let price = Nrlc(confidence.price_nrlc);
    Some(format!("{reached}, of more than {asked} asked, from {runs}{checked}, for {price}"))
}

/// Payments of the same account and role are shown as one line.
fn money(payments: &[Payment]) -> String {
    let mut lines: Vec<Payment> = Vec::new();
    for payment in payments.iter().filter(|payment| !payment.amount.is_zero()) {
        let same = |line: &&mut Payment| {
            (line.who, line.role, line.taken) == (payment.who, payment.role, payment.taken)
        };
        match lines.iter_mut().find(same) {
            Some(line) => line.amount = [line.amount, payment.amount].into_iter().sum(),
            None => lines.push(payment.clone()),
        }
    }
    let mut text = String::new();
    for line in lines {
        let verb = if line.taken { "taken from" } else { "paid to" };
        let amount = line.amount.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {verb:<11} {:<9} {}  {amount}", line.role, line.who);
    }
    text
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn short(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_sure_a_result_is_has_a_price() {
        let shown = |reached_ppm, runs, agreeing, checked| {
            let price_nrlc = Nrlc::from_rlc(3).0;
            let asked_ppm = 750_000;
            sureness(&Confidence { asked_ppm, reached_ppm, runs, agreeing, checked, price_nrlc })
        };
        assert_eq!(shown(None, 0, 0, false), None);
        let text = shown(Some(800_000), 2, 2, false).unwrap_or_default();
        assert_eq!(text, "80.0 %, of more than 75.0 % asked, from 2 runs that agree, for 3 RLC");
        let text = shown(Some(842_105), 5, 4, true).unwrap_or_default();
        assert!(text.contains("84.2 %") && text.contains("5 runs, 4 of which agree"), "{text}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn payments_to_the_same_account_are_added_up() {
        let pay = |amount, taken| Payment {
            who: Address::ZERO,
            role: "worker",
            amount: Nrlc::from_rlc(amount),
            taken,
        };
        let text = money(&[pay(1, false), pay(2, false), pay(4, true), pay(0, false)]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("3 RLC") && text.contains("taken from"), "{text}");
    }
}
