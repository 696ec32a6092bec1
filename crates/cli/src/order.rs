//! `gristmill order`: why a request is not matched, as the order book tells.

use std::fmt::Write as _;
use std::io::Write;

use orders::OrderKind;
use primitives::OrderHash;
use serde_json::Value;
use url::Url;
use wire::description;
use wire::market::{MarketClient, Named, Why, WhyQuery};

use crate::args::{OrderCommand, WhyArgs};
use crate::failure::{Exit, Failure, OrFail};
use crate::home;
use crate::offers;

/// The largest file that is taken for an order.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Answers a question about an order.
///
/// # Errors
/// GM-5006 no market, GM-2109 no such order, GM-5009 nobody takes the answer.
pub async fn order(command: OrderCommand) -> Result<(), Failure> {
    let OrderCommand::Why(args) = command;
    let query = WhyQuery {
        request: named(OrderKind::Request, &args.request)?,
        app: given(OrderKind::App, args.app_order.as_deref())?,
        dataset: given(OrderKind::Dataset, args.dataset_order.as_deref())?,
        workerpool: given(OrderKind::Workerpool, args.workerpool_order.as_deref())?,
        region: args.region.clone(),
    };
    let book = market(args.market.as_ref()).await?;
    let what = "the order book cannot say why";
    let why = book.why(&query).await.or_fail("GM-2109", Exit::Usage, what)?;
    let mut text = show(&args, &why)?;
    if let Some(past) = past(&book, &why).await.filter(|_| !args.json) {
        let _ = write!(text, "\n{:<12}{past}", "");
    }
    writeln!(std::io::stdout(), "{text}").or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}

fn show(args: &WhyArgs, why: &Why) -> Result<String, Failure> {
    if args.json {
        return serde_json::to_string(why).or_fail("GM-5009", Exit::Usage, "no JSON of the answer");
    }
    Ok(in_words(why))
}

/// The past of the workerpool that was compared; who asks may know its order from elsewhere than the book.
async fn past(book: &MarketClient, why: &Why) -> Option<String> {
    let hash = OrderHash(why.offers.as_ref()?.workerpool);
    let offer = book.order(OrderKind::Workerpool, hash).await.ok().flatten()?;
    Some(offers::past(offer.track_record, offer.claimed.as_deref()))
}

fn in_words(why: &Why) -> String {
    let mut lines = Vec::new();
    match &why.code {
        None => lines.push(format!("yes: {}", why.what)),
        Some(code) => lines.push(format!("no: {} (check {code})", why.what)),
    }
    let mut lead = "try";
    for remedy in &why.remedies {
        let lead_in = if remedy.besides { "and" } else { lead };
        lines.push(format!("{lead_in:<12}{}", remedy.text));
        lead = "or";
    }
    if let Some(offers) = &why.offers {
        lines.push(format!("{:<12}{}", "app order", offers.app));
        if let Some(dataset) = offers.dataset {
            lines.push(format!("{:<12}{dataset}", "dataset"));
        }
        lines.push(format!("{:<12}{}", "workerpool", offers.workerpool));
    }
    lines.join("\n")
}

async fn market(wanted: Option<&Url>) -> Result<MarketClient, Failure> {
    let origins = wanted.map_or_else(home::running, |origin| vec![origin.clone()]);
    for origin in &origins {
        if let Ok(description) = description::fetch(origin).await {
            let client = MarketClient::new(origin, description.chain_id);
            return client.or_fail("GM-5006", Exit::Market, "the market's origin is not usable");
        }
    }
    let what = match wanted {
        Some(origin) => format!("no market answers at {origin}"),
        None => "no market runs on this machine".to_owned(),
    };
    Err(Failure::new("GM-5006", Exit::Market, what)
        .fix("name one with --market, or start one with: gristmill up"))
}

fn given(kind: OrderKind, text: Option<&str>) -> Result<Option<Named>, Failure> {
    text.map(|text| named(kind, text)).transpose()
}

/// An order by its hash, or the one in a file: alone, or under its name as in the official tools' `orders.json`.
fn named(kind: OrderKind, text: &str) -> Result<Named, Failure> {
    if let Ok(hash) = text.parse() {
        return Ok(Named::Hash(OrderHash(hash)));
    }
    let what = format!("{text} is neither the hash of a {kind} order nor a file with one");
    let refused = || {
        Failure::new("GM-2109", Exit::Usage, what.clone())
            .fix("give 0x and 64 hexadecimal digits, or a JSON file with all fields of the order")
    };
    let size = std::fs::metadata(text).map_err(|error| refused().because(error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(refused());
    }
    let content = std::fs::read_to_string(text).map_err(|error| refused().because(error))?;
    let json: Value = serde_json::from_str(&content).map_err(|error| refused().because(error))?;
    let order = within(kind, &json).ok_or_else(refused)?;
    Named::parse(kind, &order.to_string()).map_err(|error| refused().because(error))
}

fn within(kind: OrderKind, json: &Value) -> Option<&Value> {
    let name = format!("{kind}order");
    if let Some(order) = json.get(&name) {
        return Some(order);
    }
    let chains = json.as_object()?;
    match chains.values().find_map(|chain| chain.get(&name)) {
        Some(order) => Some(order),
        None => Some(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};
    use orders::RequestOrder;
    use wire::market::{OfferHashes, Order, Remedy};

    #[test]
    fn an_answer_reads_as_what_is_wrong_and_what_to_try() {
        let remedy = |text: &str| Remedy { text: text.into(), ..Remedy::default() };
        let hash = B256::repeat_byte(1);
        let why = Why {
            matches: false,
            code: Some("0x05".into()),
            what: "workerpoolmaxprice 9 nRLC is too low by 3".into(),
            remedies: vec![
                remedy("raise workerpoolmaxprice by 3 to 12 nRLC"),
                remedy("wait"),
                Remedy { besides: true, ..remedy("deposit 3 nRLC more") },
            ],
            offers: Some(OfferHashes { app: hash, dataset: None, workerpool: hash }),
        };
        let expected = [
            "no: workerpoolmaxprice 9 nRLC is too low by 3 (check 0x05)",
            "try         raise workerpoolmaxprice by 3 to 12 nRLC",
            "or          wait",
            "and         deposit 3 nRLC more",
            "app order   0x0101010101010101010101010101010101010101010101010101010101010101",
            "workerpool  0x0101010101010101010101010101010101010101010101010101010101010101",
        ];
        assert_eq!(in_words(&why), expected.join("\n"));
        let yes = Why { matches: true, what: "it can be matched".into(), ..Why::default() };
        assert_eq!(in_words(&yes), "yes: it can be matched");
    }

    #[test]
    fn orders_are_found_by_hash_and_in_files() {
        let hash = B256::repeat_byte(7);
        let by_hash = named(OrderKind::App, &hash.to_string()).expect("a hash");
        assert_eq!(by_hash, Named::Hash(OrderHash(hash)));
        let request =
            RequestOrder { volume: alloy_primitives::U256::ONE, ..RequestOrder::default() };
        let json = Order::from(RequestOrder { app: Address::repeat_byte(1), ..request })
            .to_json()
            .expect("fits");
        let forms = [
            json.clone(),
            serde_json::json!({ "requestorder": json }),
            serde_json::json!({ "31337": { "requestorder": json } }),
        ];
        for form in forms {
            let found = within(OrderKind::Request, &form).expect("an order");
            assert_eq!(found, &json);
        }
        let refused = named(OrderKind::Request, "/no/such/file").expect_err("is no order");
        assert_eq!(refused.code, "GM-2109");
    }
}
