//! Uploads over lines that break and to servers that die.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use axum::Router;
use primitives::TaskId;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wire::scheduler::{
    ComputeLogs, Parcel, ResultBody, SchedulerApi, SchedulerClient, SchedulerRefusal, TaskModel,
    UploadLimits, UploadPlace, Uploaded, router,
};

use crate::CHAIN_ID;

const TASK: TaskId = TaskId(B256::repeat_byte(3));
const TOKEN: &str = "secret";
/// Three parts and a bit.
const SIZE: usize = 26 << 20;

/// Keeps parts in a directory.
struct Store {
    uploads: blobs::Uploads,
    kept: PathBuf,
}

fn refused(error: &blobs::Error) -> SchedulerRefusal {
    match error {
        blobs::Error::Misplaced { offset } => SchedulerRefusal::Misplaced(*offset),
        error => SchedulerRefusal::Unavailable(wire::Failure::new(error.code(), "", "")),
    }
}

#[async_trait]
impl SchedulerApi for Store {
    fn chain_id(&self) -> u64 {
        CHAIN_ID
    }

    async fn task(&self, _: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    async fn logs(&self, _: TaskId, _: Address) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    async fn accept_result(
        &self,
        _: TaskId,
        _: &str,
        _: ResultBody,
    ) -> Result<String, SchedulerRefusal> {
        Err(SchedulerRefusal::Forbidden)
    }

    async fn upload_place(
        &self,
        task: TaskId,
        token: &str,
    ) -> Result<Option<UploadPlace>, SchedulerRefusal> {
        if token != TOKEN {
            return Err(SchedulerRefusal::Unauthorized);
        }
        let standing = self.uploads.standing(task.0.0).await.map_err(|error| refused(&error))?;
        Ok(standing.map(|it| UploadPlace {
            size_bytes: it.announced.size,
            sha256: it.announced.sha256.into(),
            offset_bytes: it.offset,
        }))
    }

    async fn accept_part(
        &self,
        task: TaskId,
        token: &str,
        place: UploadPlace,
        body: ResultBody,
    ) -> Result<Uploaded, SchedulerRefusal> {
        if token != TOKEN {
            return Err(SchedulerRefusal::Unauthorized);
        }
        let what = blobs::Announced { size: place.size_bytes, sha256: place.sha256.0 };
        let part = self.uploads.take(task.0.0, what, place.offset_bytes, body).await;
        match part.map_err(|error| refused(&error))? {
            blobs::Part::UpTo(offset) => Ok(Uploaded::UpTo(offset)),
            blobs::Part::Known(word) => Ok(Uploaded::Stored(word)),
            blobs::Part::Whole(whole) => {
                tokio::fs::copy(whole.path(), &self.kept).await.expect("a copy");
                whole.done("/ipfs/QmIt").await;
                Ok(Uploaded::Stored("/ipfs/QmIt".to_owned()))
            }
        }
    }
}

/// A server that ends with this, as its process would.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(dir: &Path) -> Self {
        let uploads = blobs::Uploads::open(&dir.join("uploads"), blobs::Limits::default());
        let store = Store { uploads: uploads.expect("opens"), kept: dir.join("kept") };
        let routes: Router = router([Arc::new(store) as _], UploadLimits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("serves");
        });
        Self { address, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A line to a server that carries so many bytes and then breaks.
async fn line(to: SocketAddr, budget: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let left = Arc::new(AtomicU64::new(budget));
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.expect("the server");
                let ((mut from, mut back), (mut answers, mut asks)) =
                    (caller.into_split(), server.into_split());
                let there = async {
                    let mut piece = vec![0; 16 << 10];
                    while let Ok(read @ 1..) =
                        tokio::io::AsyncReadExt::read(&mut from, &mut piece).await
                    {
                        let read = read as u64;
                        let carried =
                            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had| {
                                had.checked_sub(read)
                            });
                        let piece = &piece[..usize::try_from(read).expect("a length")];
                        if carried.is_err() || asks.write_all(piece).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = there => {}
                    _ = tokio::io::copy(&mut answers, &mut back) => {}
                }
            });
        }
    });
    address
}

fn client(address: SocketAddr) -> SchedulerClient {
    let origin = format!("http://{address}").parse().expect("a URL");
    SchedulerClient::new(&origin, CHAIN_ID).expect("a client")
}

#[tokio::test]
async fn an_upload_goes_on_after_cut_lines_and_a_dead_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let content: Vec<u8> = (0..SIZE).map(|i| u8::try_from(i % 251).expect("a byte")).collect();
    let file = dir.path().join("result.zip");
    std::fs::write(&file, &content).expect("written");
    let parcel = Parcel::of(&file).await.expect("a parcel");

    let first = Server::start(dir.path()).await;
    let cut = line(first.address, 9 << 20).await;
    client(cut).upload_parcel(TASK, TOKEN, &parcel).await.expect_err("the line is cut");
    // What is in the server's buffers when the line breaks may still be written.
    let reached = crate::uploads::place(first.address).await;
    assert!((8 << 20..10 << 20).contains(&reached), "{reached}");
    let cut = line(first.address, 5 << 20).await;
    client(cut).upload_parcel(TASK, TOKEN, &parcel).await.expect_err("cut again");
    let further = crate::uploads::place(first.address).await;
    assert!(further > reached && further < SIZE as u64, "{reached}, {further}");
    drop(first);

    let second = Server::start(dir.path()).await;
    assert!(crate::uploads::place(second.address).await >= further, "over the server's death too");
    let stranger = client(second.address).upload_parcel(TASK, "guess", &parcel).await;
    assert!(matches!(stranger, Err(wire::ClientError::Refused { status: 401, .. })));
    let location = client(second.address).upload_parcel(TASK, TOKEN, &parcel).await;
    assert_eq!(location.expect("uploaded"), "/ipfs/QmIt");
    assert!(std::fs::read(dir.path().join("kept")).expect("kept") == content, "byte for byte");
    let again = client(second.address).upload_parcel(TASK, TOKEN, &parcel).await;
    assert_eq!(again.expect("known"), "/ipfs/QmIt", "asked again, told again");
}

/// Where the upload stands, once it does not move any more: a line that was cut is noticed a little later.
async fn place(address: SocketAddr) -> u64 {
    let asked = async || {
        let place = client(address).upload_place(TASK, TOKEN).await.expect("an answer");
        place.expect("an upload").offset_bytes
    };
    let mut last = asked().await;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = asked().await;
        if now == last {
            return now;
        }
        last = now;
    }
}
