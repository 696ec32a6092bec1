//! A registry on this machine, with everything that real ones do and broken ones might.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use expect_test::{Expect, expect};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// What the registry does to those who ask for blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Habit {
    #[default]
    Good,
    /// Wants a token.
    Shy,
    /// Sends half of every first answer, then breaks off.
    Cutting,
    /// The same, and knows nothing of ranges.
    CuttingWithoutRanges,
    /// Sends half, as if it were all.
    Short,
    /// Has something else under the digest.
    Lying,
    /// Is busy at first.
    Busy,
    /// Wants a token and sends to another host.
    Redirecting,
}

#[derive(Default)]
struct Shop {
    habit: Habit,
    files: HashMap<String, Vec<u8>>,
    /// Where it redirects to.
    other: Option<SocketAddr>,
    /// What was asked, in order.
    asked: Mutex<Vec<String>>,
    address: Mutex<Option<SocketAddr>>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

const LAYER: &[u8] = b"a layer of forty-two bytes, more or less..";

impl Shop {
    /// With `team/app:1`: an index, of which one manifest is for this machine, and `team/other:1` with the same layer.
    fn new(habit: Habit) -> Self {
        let mut shop = Self { habit, ..Self::default() };
        let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let index = shop.image("{}", here);
        shop.files.insert("manifests/1".to_owned(), index);
        let other = shop.image("{ }", here);
        shop.files.insert("manifests/2".to_owned(), other);
        let foreign = shop.image("{  }", "s390x");
        shop.files.insert("manifests/foreign".to_owned(), foreign);
        shop
    }

    fn image(&mut self, config: &str, architecture: &str) -> Vec<u8> {
        let about = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
        let manifest = json!({ "config": about(config.as_bytes()), "layers": [about(LAYER)] });
        let manifest = manifest.to_string().into_bytes();
        let at = |architecture: &str, of: &[u8]| {
            let mut about = about(of);
            about["platform"] = json!({ "os": "linux", "architecture": architecture });
            about
        };
        let index =
            json!({ "manifests": [at("sparc", b"elsewhere"), at(architecture, &manifest)] });
        let index = index.to_string().into_bytes();
        for blob in [config.as_bytes(), LAYER] {
            self.files.insert(format!("blobs/{}", digest(blob)), blob.to_vec());
        }
        for paper in [&manifest, &index] {
            self.files.insert(format!("manifests/{}", digest(paper)), paper.clone());
        }
        index
    }

    async fn serve(self) -> Market {
        let shop = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        *shop.address.lock() = Some(address);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shop));
        tokio::spawn(axum::serve(listener, router).into_future());
        Market { shop, address, dir: tempfile::tempdir().unwrap() }
    }
}

async fn answer(State(shop): State<Arc<Shop>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let header = |name| request.headers().get(name).and_then(|it| it.to_str().ok());
    let known = header(AUTHORIZATION) == Some("Bearer let-me-in");
    if path == "/token" {
        let scope = request
            .uri()
            .query()
            .unwrap_or_default()
            .contains("scope=repository%3Ateam%2Fapp%3Apull");
        return if scope {
            r#"{"token":"let-me-in"}"#.into_response()
        } else {
            StatusCode::FORBIDDEN.into_response()
        };
    }
    let below = path.strip_prefix("/v2/team/app/").or_else(|| path.strip_prefix("/cdn/"));
    let below = below.unwrap_or_default().to_owned();
    let first = !shop.asked.lock().contains(&below);
    let token = if path.starts_with("/cdn/") && header(AUTHORIZATION).is_some() {
        " with a token"
    } else {
        ""
    };
    shop.asked.lock().push(format!("{below}{token}"));
    if matches!(shop.habit, Habit::Shy | Habit::Redirecting) && !known && !path.starts_with("/cdn/")
    {
        let address = shop.address.lock().unwrap();
        let challenge = format!(
            r#"Bearer realm="http://{address}/token",service="shop",scope="repository:team/app:pull""#
        );
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response();
    }
    let Some(file) = shop.files.get(&below).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if below.starts_with("manifests/") {
        return file.into_response();
    }
    match shop.habit {
        Habit::Redirecting if !path.starts_with("/cdn/") => {
            Redirect::temporary(&format!("http://{}/cdn/{below}", shop.other.unwrap()))
                .into_response()
        }
        Habit::Busy if first => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Habit::Lying => vec![b'x'; file.len()].into_response(),
        Habit::Short => file[..file.len() / 2].to_vec().into_response(),
        Habit::Cutting | Habit::CuttingWithoutRanges if first && file.len() > 4 => cut(&file),
        Habit::Cutting => match header(RANGE)
            .and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
                (StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, range)], file[from..].to_vec())
                    .into_response()
            }
            None => file.into_response(),
        },
        _ => file.into_response(),
    }
}

/// Half of it, and then the connection is gone.
fn cut(file: &[u8]) -> Response {
    let half = Bytes::copy_from_slice(&file[..file.len() / 2]);
    let broken = async {
        // Else the half would not be sent before the connection goes.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    };
    let chunks = futures::stream::once(async { Ok(half) }).chain(futures::stream::once(broken));
    Response::builder()
        .header("content-length", file.len())
        .body(Body::from_stream(chunks))
        .unwrap()
}

/// The registry as it stands.
struct Market {
    shop: Arc<Shop>,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Market {
    async fn pull(&self, tag: &str, change: impl Fn(&mut Wanted)) -> Result<Pulled, PullError> {
        self.pull_as(tag, true, change).await
    }

    async fn pull_as(
        &self,
        tag: &str,
        allow_private: bool,
        change: impl Fn(&mut Wanted),
    ) -> Result<Pulled, PullError> {
        let gateway = "http://127.0.0.1:9".parse().unwrap();
        let fetcher = Fetcher::new(&gateway, allow_private).unwrap();
        let image = Reference::parse(&format!("{}/team/app:{tag}", self.address)).unwrap();
        let mut wanted = Wanted { image, pin: None, limit_bytes: 1_000 };
        change(&mut wanted);
        let dir = self.dir.path().join(tag);
        let _ = std::fs::remove_dir_all(&dir);
        let pulled = pull(&fetcher, &wanted, &dir, self.dir.path()).await?;
        let layer =
            std::fs::read(dir.join("blobs/sha256").join(hex::encode(Sha256::digest(LAYER))));
        assert_eq!(layer.unwrap(), LAYER);
        assert!(dir.join("index.json").exists());
        Ok(pulled)
    }

    async fn check(habit: Habit, want: &Expect) {
        let registry = Shop::new(habit).serve().await;
        want.assert_eq(&shown(&registry.pull("1", |_| {}).await));
    }

    fn blobs_asked(&self) -> usize {
        self.shop.asked.lock().iter().filter(|it| it.starts_with("blobs/")).count()
    }
}

fn shown(pulled: &Result<Pulled, PullError>) -> String {
    match pulled {
        Ok(pulled) => format!("{} bytes, {} shared", pulled.bytes, pulled.shared),
        Err(error) => {
            let text = error.to_string();
            let from = text.split(": its digest").next().unwrap_or_default();
            format!("{} [{}]", from, if error.is_ours() { "ours" } else { "theirs" })
        }
    }
}

#[tokio::test]
async fn an_image_comes_whole_whatever_the_registry_is_like() {
    let whole = expect!["44 bytes, 0 shared"];
    for habit in [Habit::Good, Habit::Shy, Habit::Cutting, Habit::CuttingWithoutRanges, Habit::Busy]
    {
        Market::check(habit, &whole).await;
    }
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_not_taken() {
    let layer = B256::from_slice(&Sha256::digest(LAYER));
    let registry = Shop::new(Habit::Lying).serve().await;
    let lied = registry.pull("1", |_| {}).await.unwrap_err();
    assert!(matches!(lied, PullError::OtherDigest { .. }), "{lied}");
    Market::check(Habit::Short, &expect!["a layer arrived in part only, again and again [ours]"])
        .await;

    let registry = Shop::new(Habit::Good).serve().await;
    let absent = registry.pull("1", |wanted| wanted.image.digest = Some(layer)).await;
    expect!["the registry has no such image for everybody (status 404) [theirs]"]
        .assert_eq(&shown(&absent));
    let foreign = registry.pull("foreign", |_| {}).await.unwrap_err();
    assert!(
        matches!(&foreign, PullError::Manifest(why) if why.starts_with("it has no image for linux/"))
    );
    let large = registry.pull("1", |wanted| wanted.limit_bytes = 10).await;
    expect!["the image has 44 bytes; at most 10 are pulled [theirs]"].assert_eq(&shown(&large));
}

#[tokio::test]
async fn a_pinned_image_is_asked_for_by_its_digest() {
    let registry = Shop::new(Habit::Good).serve().await;
    let index = B256::from_slice(&Sha256::digest(&registry.shop.files["manifests/2"]));
    // The tag has moved on; the digest that is registered has not.
    registry.pull("1", |wanted| wanted.pin = Some(index)).await.unwrap();
    let asked = registry.shop.asked.lock()[0].clone();
    assert_eq!(asked, format!("manifests/sha256:{}", hex::encode(index)));
    // What is registered is no manifest: then the tag says which.
    registry.pull("1", |wanted| wanted.pin = Some(B256::repeat_byte(1))).await.unwrap();
    assert!(registry.shop.asked.lock().contains(&"manifests/1".to_owned()));
}

#[tokio::test]
async fn layers_are_shared_and_not_pulled_again() {
    let registry = Shop::new(Habit::Good).serve().await;
    registry.pull("1", |_| {}).await.unwrap();
    let asked = registry.blobs_asked();
    expect!["3 bytes, 1 shared"].assert_eq(&shown(&registry.pull("2", |_| {}).await));
    assert_eq!(registry.blobs_asked(), asked + 1);
}

#[tokio::test]
async fn a_token_stays_with_the_registry() {
    let cdn = Shop::new(Habit::Good).serve().await;
    let registry = Shop { other: Some(cdn.address), ..Shop::new(Habit::Redirecting) }.serve().await;
    expect!["44 bytes, 0 shared"].assert_eq(&shown(&registry.pull("1", |_| {}).await));
    let asked = cdn.shop.asked.lock().clone();
    assert!(asked.len() == 2 && asked.iter().all(|it| !it.ends_with("token")), "{asked:?}");
}

#[tokio::test]
async fn a_registry_in_a_private_network_is_not_asked() {
    let registry = Shop::new(Habit::Good).serve().await;
    let refused = registry.pull_as("1", false, |_| {}).await;
    expect!["it does not lead to a public address [theirs]"].assert_eq(&shown(&refused));
    assert_eq!(registry.shop.asked.lock().len(), 0);
}

#[test]
fn challenges_are_read_as_registries_write_them() {
    let read = |text: &str| {
        Challenge::parse(text).map_or_else(
            || "none".to_owned(),
            |it| format!("{} {:?} {:?}", it.realm, it.service, it.scope),
        )
    };
    expect![[r#"https://a.example/t Some("r.example") Some("repository:a/b:pull,push")"#]].assert_eq(
        &read(r#"Bearer realm="https://a.example/t",service="r.example",scope="repository:a/b:pull,push""#),
    );
    expect!["none"].assert_eq(&read(r#"Basic realm="x""#));
    expect!["none"].assert_eq(&read("Bearer realm="));
}
