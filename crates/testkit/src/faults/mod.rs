//! A proxy that misbehaves as networks and nodes do: it stands before a service and, while there is a storm, refuses
//! connections, delays what passes, breaks connections off in the middle, and answers 502 or JSON-RPC errors itself.
//!
//! ```text
//!   service ─► Proxy 127.0.0.1:port ─┬─ bytes  ─► service      refused, slow, cut, 502
//!                                    └─ JSON-RPC ─► chain      the same; errors, also instead of an answer to what was done
//! ```
//! What happens to a connection depends on the seed, the proxy's name and the connection's number alone. Nothing is ever
//! altered on its way: bytes arrive in order and whole, or the connection ends, as TCP has it.
//!
//! A *dam* is no misbehaviour but a measured one: connections carry so many bytes towards the service and then stand still
//! until it is lifted, so that what happens in the middle of a transfer can be made to happen there.
//!
//! Not here: killing processes (`campaign`).

mod rpc;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;

/// The head of a request is looked at for so long.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const CHUNK: usize = 16 * 1024;
/// A connection that nothing cuts lives this long: longer than any campaign.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How bad it gets. Numbers without a unit are times of 1000.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Connections that are closed at once.
    pub refused: u32,
    /// Connections whose first request is answered 502.
    pub bad_gateway: u32,
    /// Connections that are cut after a while.
    pub cut: u32,
    /// The longest life of those.
    pub cut_within: Duration,
    /// Chunks and messages that are held up.
    pub slow: u32,
    /// The longest that one is held up.
    pub slow_max: Duration,
    /// JSON-RPC requests that are answered with an error.
    pub rpc_errors: u32,
}

impl Weather {
    /// Rough, and yet such that work goes on.
    pub const STORM: Self = Self {
        refused: 30,
        bad_gateway: 30,
        cut: 200,
        cut_within: Duration::from_secs(12),
        slow: 60,
        slow_max: Duration::from_millis(250),
        rpc_errors: 15,
    };
}

/// What a proxy did.
#[derive(Debug, Default)]
pub struct Harm {
    refused: AtomicU64,
    bad_gateway: AtomicU64,
    cut: AtomicU64,
    slow: AtomicU64,
    rpc_errors: AtomicU64,
}

impl Harm {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Refused, answered 502, cut, held up, answered with JSON-RPC errors: how often each.
    pub fn counts(&self) -> [u64; 5] {
        let all = [&self.refused, &self.bad_gateway, &self.cut, &self.slow, &self.rpc_errors];
        all.map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What is spoken through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Anything over TCP; 502 is said to those that speak HTTP.
    Bytes,
    /// JSON-RPC over websockets.
    JsonRpc,
}

/// A proxy. Ends when dropped, with all its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    name: String,
    seed: u64,
    speech: Speech,
    weather: Weather,
    upstream: Mutex<Option<SocketAddr>>,
    storm: AtomicBool,
    /// The most that a connection carries to the service for now.
    dam: watch::Sender<u64>,
    /// What all connections together carried there.
    carried: AtomicU64,
    harm: Harm,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Proxy {
    /// A proxy on a free port of this machine, before nothing yet, in fair weather.
    pub async fn start(name: &str, seed: u64, speech: Speech, weather: Weather) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seed,
            speech,
            weather,
            upstream: Mutex::default(),
            storm: AtomicBool::new(false),
            dam: watch::Sender::new(u64::MAX),
            carried: AtomicU64::new(0),
            harm: Harm::default(),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it stands before from now on.
    pub fn point_at(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock() = Some(upstream);
    }

    /// Begins or ends the misbehaviour. Connections that are doomed to be cut live on when it ends.
    pub fn storm(&self, is_on: bool) {
        self.shared.storm.store(is_on, Ordering::Relaxed);
    }

    /// Lets each connection carry so many bytes to the service and no more, until another number is said.
    pub fn dam(&self, bytes: u64) {
        self.shared.dam.send_replace(bytes);
    }

    /// Bytes that it carried to the service.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// What it did so far.
    pub fn harm(&self) -> &Harm {
        &self.shared.harm
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.connections.lock().iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    for number in 0_u64.. {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: there will be some again.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = Connection::new(Arc::clone(&shared), number);
        let serving = tokio::spawn(async move {
            if let Err(error) = connection.serve(client).await {
                // Broken connections are what this is for.
                drop(error);
            }
        });
        let mut connections = shared.connections.lock();
        connections.retain(|one| !one.is_finished());
        connections.push(serving.abort_handle());
    }
}

/// One connection and its fate.
struct Connection {
    shared: Arc<Shared>,
    dice: Dice,
}

impl Connection {
    fn new(shared: Arc<Shared>, number: u64) -> Self {
        let dice = Dice::new(shared.seed, &format!("{}#{number}", shared.name));
        Self { shared, dice }
    }

    fn storms(&self) -> bool {
        self.shared.storm.load(Ordering::Relaxed)
    }

    /// Whether that befalls it now. Thrown in fair weather too, so that the weather does not shift what comes later.
    fn befalls(&mut self, permille: u32) -> bool {
        let thrown = self.dice.is_one_of(permille);
        thrown && self.storms()
    }

    /// How long to hold something up.
    fn delay(&mut self) -> Duration {
        let most = u64::try_from(self.shared.weather.slow_max.as_millis()).unwrap_or(u64::MAX);
        let delay = Duration::from_millis(self.dice.below(most));
        if self.befalls(self.shared.weather.slow) {
            Harm::count(&self.shared.harm.slow);
            delay
        } else {
            Duration::ZERO
        }
    }

    async fn serve(mut self, mut client: TcpStream) -> Result<()> {
        let weather = self.shared.weather;
        client.set_nodelay(true)?;
        if self.befalls(weather.refused) {
            Harm::count(&self.shared.harm.refused);
            return Ok(());
        }
        if self.befalls(weather.bad_gateway) && is_http(&client).await? {
            Harm::count(&self.shared.harm.bad_gateway);
            let answer =
                "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            client.write_all(answer.as_bytes()).await?;
            // Closing on unread bytes would reset the connection before the answer is read.
            client.shutdown().await?;
            let _ = tokio::time::timeout(HEAD_WITHIN, client.read(&mut vec![0; CHUNK])).await;
            return Ok(());
        }
        let most = u64::try_from(weather.cut_within.as_millis()).unwrap_or(u64::MAX);
        let life = Duration::from_millis(self.dice.below(most));
        let is_cut = self.befalls(weather.cut);
        let end = Instant::now() + if is_cut { life } else { FOREVER };
        let upstream = self.shared.upstream.lock().context("nothing is behind the proxy yet")?;
        let shared = Arc::clone(&self.shared);
        let passing = async {
            let server = TcpStream::connect(upstream).await?;
            server.set_nodelay(true)?;
            match self.shared.speech {
                Speech::JsonRpc if is_upgrade(&client).await? => {
                    Box::pin(rpc::pass(self, client, server)).await
                }
                Speech::JsonRpc | Speech::Bytes => Box::pin(self.pass(client, server)).await,
            }
        };
        tokio::select! {
            passed = passing => passed,
            () = sleep_until(end) => {
                Harm::count(&shared.harm.cut);
                Ok(())
            }
        }
    }

    /// Both directions, until either ends.
    async fn pass(mut self, client: TcpStream, server: TcpStream) -> Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (mut up, mut down) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut dam = self.shared.dam.subscribe();
        let mut carried = 0;
        loop {
            tokio::select! {
                read = from_client.read(&mut up) => match read? {
                    // What the other side still has to say is said.
                    0 => {
                        to_server.shutdown().await?;
                        tokio::io::copy(&mut from_server, &mut to_client).await?;
                        return Ok(());
                    }
                    count => {
                        sleep(self.delay()).await;
                        carried += count as u64;
                        dam.wait_for(|most| carried <= *most).await?;
                        to_server.write_all(&up[..count]).await?;
                        self.shared.carried.fetch_add(count as u64, Ordering::Relaxed);
                    }
                },
                read = from_server.read(&mut down) => match read? {
                    0 => return Ok(()),
                    count => {
                        sleep(self.delay()).await;
                        to_client.write_all(&down[..count]).await?;
                    }
                },
            }
        }
    }
}

/// The head of the request that a client begins with, left where it is.
async fn head(client: &TcpStream) -> Result<String> {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    let begun = Instant::now();
    loop {
        let count = client.peek(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if count == 0 || text.contains("\r\n\r\n") || begun.elapsed() > HEAD_WITHIN {
            return Ok(text);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn is_http(client: &TcpStream) -> Result<bool> {
    Ok(head(client).await?.contains(" HTTP/1.1\r\n"))
}

async fn is_upgrade(client: &TcpStream) -> Result<bool> {
    Ok(head(client).await?.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"))
}

#[cfg(test)]
mod tests;
