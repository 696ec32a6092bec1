//! Asking why an order is not matched, and the answer. This question is ours; the official API does not know it.
//!
//! ```text
//! GET /why?chainId=…&requestorder=<hash or JSON>[&apporder=…][&datasetorder=…][&workerpoolorder=…][&region=…]
//! ```
//!
//! With only a request, the whole book is searched for what it could be matched with. With an app's and a workerpool's
//! order too (and a dataset's, if the request wants one), exactly these are judged. An order is named by its hash, if the
//! book has it, or given as JSON; there, what is missing counts as zero, and a request without a signature as yet to
//! be signed. With a region, of all offers only those are looked at whose workerpools say that they have workers there; orders
//! themselves know no places.

use alloy_primitives::{Address, B256};
use orders::OrderKind;
use primitives::{OrderHash, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::query::Pairs;
use super::{Machines, Order};
use crate::json::{self, ShapeError, parse_bytes32};

/// An order of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// One that the book has.
    Hash(OrderHash),
    /// This one.
    Order(Box<Order>),
}

impl Named {
    /// Reads a hash, or an order of that kind in JSON; there, what is missing counts as zero.
    pub fn parse(kind: OrderKind, text: &str) -> Result<Self, ShapeError> {
        read(kind, &format!("{kind}order"), text)
    }
}

/// Why is this not matched?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyQuery {
    /// The request.
    pub request: Named,
    /// The app's order, if exactly that is meant.
    pub app: Option<Named>,
    /// The dataset's.
    pub dataset: Option<Named>,
    /// The workerpool's.
    pub workerpool: Option<Named>,
    /// Where it must run; of a request alone.
    pub region: Option<String>,
}

impl WhyQuery {
    /// About a request, with whatever the book has.
    pub fn of(request: Named) -> Self {
        Self { request, app: None, dataset: None, workerpool: None, region: None }
    }

    pub(super) fn from_pairs(pairs: &Pairs) -> Result<Self, ShapeError> {
        let named = |kind: OrderKind| {
            let name = format!("{kind}order");
            pairs.get(&name).map(|text| read(kind, &name, text)).transpose()
        };
        let request = named(OrderKind::Request)?;
        let query = Self {
            request: request
                .ok_or_else(|| ShapeError("requestorder is a required field".to_owned()))?,
            app: named(OrderKind::App)?,
            dataset: named(OrderKind::Dataset)?,
            workerpool: named(OrderKind::Workerpool)?,
            region: pairs.get("region").map(region).transpose()?,
        };
        if query.region.is_some() && query.app.is_some() {
            return Err(ShapeError("region goes with a requestorder alone".to_owned()));
        }
        let offers = [query.app.is_some(), query.workerpool.is_some()];
        if offers == [true, true] || (offers == [false, false] && query.dataset.is_none()) {
            return Ok(query);
        }
        Err(ShapeError("apporder and workerpoolorder must be given together, or none".to_owned()))
    }

    pub(super) fn to_pairs(&self) -> Result<Vec<(&'static str, String)>, ShapeError> {
        let orders = [
            ("requestorder", Some(&self.request)),
            ("apporder", self.app.as_ref()),
            ("datasetorder", self.dataset.as_ref()),
            ("workerpoolorder", self.workerpool.as_ref()),
        ];
        let given = orders.into_iter().filter_map(|(name, named)| Some((name, named?)));
        let orders = given.map(|(name, named)| Ok((name, write(named)?)));
        orders.chain(self.region.clone().map(|region| Ok(("region", region)))).collect()
    }
}

/// What stands between a request and a deal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Whether it could be matched now.
    pub matches: bool,
    /// The check that refuses: the contract's own number (`0x05`), or a word where it has none; nothing if it matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is wrong, in a line; what the deal would say if it matches.
    pub what: String,
    /// What would make it match, the least first.
    pub remedies: Vec<Remedy>,
    /// What it would be matched with, or what comes closest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<OfferHashes>,
}

/// The offers that a request is put together with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferHashes {
    /// The app's order.
    #[serde(rename = "apporder", with = "json::text")]
    pub app: B256,
    /// The dataset's, if the request wants one.
    #[serde(
        rename = "datasetorder",
        default,
        skip_serializing_if = "Option::is_none",
        with = "json::text::option"
    )]
    pub dataset: Option<B256>,
    /// The workerpool's order.
    #[serde(rename = "workerpoolorder", with = "json::text")]
    pub workerpool: B256,
}

/// Something that would help.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remedy {
    /// What to do, in a line.
    pub text: String,
    /// Fields of the request order and what they must become; empty when something else must be done.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub change: Map<String, Value>,
    /// What it can be matched with then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<OfferHashes>,
    /// Whether it is needed besides whichever of the others is chosen, rather than instead of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub besides: bool,
}

fn read(kind: OrderKind, name: &str, text: &str) -> Result<Named, ShapeError> {
    if text.starts_with("0x") {
        return Ok(Named::Hash(OrderHash(parse_bytes32(name, text)?)));
    }
    let refused = || ShapeError(format!("{name} must be a bytes32 hexstring or an order in JSON"));
    let Ok(Value::Object(mut given)) = serde_json::from_str(text) else { return Err(refused()) };
    for (field, value) in defaults(kind) {
        given.entry(field).or_insert(value);
    }
    let order = Order::from_json(kind, &Value::Object(given));
    let order = order.map_err(|error| ShapeError(format!("{name}.{}", error.0)))?;
    Ok(Named::Order(Box::new(order)))
}

fn region(text: &str) -> Result<String, ShapeError> {
    if Machines::is_region(text) {
        return Ok(text.to_owned());
    }
    Err(ShapeError(format!("region must be at most {} plain letters", Machines::REGION_BYTES_MAX)))
}

fn write(named: &Named) -> Result<String, ShapeError> {
    match named {
        Named::Hash(hash) => Ok(hash.to_string()),
        Named::Order(order) => Ok(order.to_json()?.to_string()),
    }
}

/// What need not be said of an order.
fn defaults(kind: OrderKind) -> Map<String, Value> {
    let nobody = Value::from(Address::ZERO.to_string());
    let mut defaults = Map::new();
    let mut put = |names: &[&str], value: &Value| {
        for name in names {
            defaults.insert((*name).to_owned(), value.clone());
        }
    };
    put(&["tag"], &Tag::NONE.to_string().into());
    put(&["salt"], &B256::ZERO.to_string().into());
    put(&["sign"], &"0x".into());
    put(&["volume"], &1.into());
    match kind {
        OrderKind::Request => {
            put(&["dataset", "workerpool", "beneficiary", "callback"], &nobody);
            let numbers = ["appmaxprice", "datasetmaxprice", "workerpoolmaxprice", "category"];
            put(&numbers, &0.into());
            put(&["trust"], &0.into());
            put(&["params"], &"".into());
        }
        _ => {
            let restricts =
                ["apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict"];
            put(&restricts, &nobody);
            put(&["appprice", "datasetprice", "workerpoolprice", "category", "trust"], &0.into());
        }
    }
    defaults
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn ask(query: &str) -> Result<WhyQuery, ShapeError> {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        WhyQuery::from_pairs(&Pairs(pairs))
    }

    fn refused(query: &str, expected: &Expect) {
        expected.assert_eq(&ask(query).expect_err("is refused").0);
    }

    #[test]
    fn what_is_wrong_with_a_question_is_named() {
        refused("", &expect!["requestorder is a required field"]);
        refused("requestorder=0x12", &expect!["requestorder must be a bytes32 hexstring"]);
        refused(
            "requestorder=hello",
            &expect!["requestorder must be a bytes32 hexstring or an order in JSON"],
        );
        refused("requestorder={}", &expect!["requestorder.app is a required field"]);
        let hash = B256::repeat_byte(1);
        refused(
            &format!("requestorder={hash}&apporder={hash}"),
            &expect!["apporder and workerpoolorder must be given together, or none"],
        );
        refused(
            &format!("requestorder={hash}&apporder={hash}&workerpoolorder={hash}&region=eu"),
            &expect!["region goes with a requestorder alone"],
        );
        refused(
            &format!("requestorder={hash}&region="),
            &expect!["region must be at most 64 plain letters"],
        );
    }

    #[test]
    fn a_question_reads_back_as_it_was_written() {
        let app = Address::repeat_byte(7);
        let short =
            format!(r#"requestorder={{"app":"{app}","requester":"{app}","appmaxprice":5}}"#);
        let asked = ask(&short).expect("reads");
        let Named::Order(order) = &asked.request else { panic!("an order") };
        assert_eq!((order.kind(), order.subject()), (OrderKind::Request, app));
        let hash = Named::Hash(OrderHash(B256::repeat_byte(3)));
        let whole =
            WhyQuery { app: Some(hash.clone()), dataset: None, workerpool: Some(hash), ..asked };
        let written = whole.to_pairs().expect("writes");
        let written = written.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        assert_eq!(WhyQuery::from_pairs(&Pairs(written)), Ok(whole));
        let placed = ask(&format!("{short}&region=eu%20west")).expect("reads");
        assert_eq!(placed.region.as_deref(), Some("eu west"));
        let written = placed.to_pairs().expect("writes");
        let written = written.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        assert_eq!(WhyQuery::from_pairs(&Pairs(written)), Ok(placed));
    }

    #[test]
    fn an_answer_keeps_its_shape() {
        let hash = B256::repeat_byte(1);
        let offers = OfferHashes { app: hash, dataset: None, workerpool: hash };
        let mut change = Map::new();
        change.insert("workerpoolmaxprice".into(), 12.into());
        let why = Why {
            matches: false,
            code: Some("0x05".into()),
            what: "too low".into(),
            remedies: vec![Remedy {
                text: "raise".into(),
                change,
                offers: Some(offers),
                besides: false,
            }],
            offers: None,
        };
        let written = serde_json::to_value(&why).expect("writes");
        let short = written.to_string().replace(&hash.to_string(), "#");
        expect![[r##"{"code":"0x05","matches":false,"remedies":[{"change":{"workerpoolmaxprice":12},"offers":{"apporder":"#","workerpoolorder":"#"},"text":"raise"}],"what":"too low"}"##]]
        .assert_eq(&short);
        assert_eq!(serde_json::from_value::<Why>(written).expect("reads"), why);
    }
}
