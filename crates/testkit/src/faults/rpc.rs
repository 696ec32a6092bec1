//! JSON-RPC over a websocket, message by message, so that single requests can fail while the connection holds.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{accept_hdr_async, client_async};

use super::{Connection, Harm};

/// What nodes say when they cannot.
const ERRORS: [(i64, &str); 3] =
    [(-32_603, "Internal error"), (-32_005, "limit exceeded"), (-32_000, "header not found")];

/// Passes messages on until either side ends.
pub(super) async fn pass(
    mut connection: Connection,
    client: TcpStream,
    server: TcpStream,
) -> Result<()> {
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let note = |request: &Request, response: Response| {
        path = request.uri().to_string();
        Ok(response)
    };
    let mut client = accept_hdr_async(client, note).await?;
    let url = format!("ws://chain{path}");
    let (mut server, _) = client_async(url, server).await?;
    // Requests that are done and whose answer is lost, with what is said instead.
    let mut lost: BTreeMap<String, Value> = BTreeMap::new();
    loop {
        tokio::select! {
            heard = client.next() => {
                let Some(message) = heard.transpose()? else { return Ok(()) };
                sleep(connection.delay()).await;
                match failing(&mut connection, &message) {
                    None => server.send(message).await?,
                    Some(Fault::Undone(answer)) => client.send(Message::text(answer.to_string())).await?,
                    Some(Fault::Unanswered(id, answer)) => {
                        lost.insert(id, answer);
                        server.send(message).await?;
                    }
                }
            }
            heard = server.next() => {
                let Some(message) = heard.transpose()? else { return Ok(()) };
                sleep(connection.delay()).await;
                let instead = id_of(&message).and_then(|id| lost.remove(&id.to_string()));
                let message = instead.map_or(message, |answer| Message::text(answer.to_string()));
                client.send(message).await?;
            }
        }
    }
}

enum Fault {
    /// The request never gets to the chain.
    Undone(Value),
    /// It does, and its answer is replaced.
    Unanswered(String, Value),
}

fn failing(connection: &mut Connection, message: &Message) -> Option<Fault> {
    let befalls = connection.befalls(connection.shared.weather.rpc_errors);
    let is_done = connection.dice.is_one_of(300);
    let which = usize::try_from(connection.dice.below(ERRORS.len() as u64)).unwrap_or_default();
    if !befalls {
        return None;
    }
    let id = id_of(message)?;
    let (code, text) = ERRORS[which];
    let answer = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text } });
    Harm::count(&connection.shared.harm.rpc_errors);
    Some(if is_done { Fault::Unanswered(id.to_string(), answer) } else { Fault::Undone(answer) })
}

/// The id of a single request or answer; none of a push or a batch.
fn id_of(message: &Message) -> Option<Value> {
    let Message::Text(text) = message else { return None };
    let value: Value = serde_json::from_str(text).ok()?;
    value.get("id").filter(|id| !id.is_null()).cloned()
}
