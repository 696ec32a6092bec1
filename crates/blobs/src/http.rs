//! The gateway (`/ipfs/{cid}`), kubo's `add`, and the door for large files on bad lines (`parts`).

use axum::Router;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cid::Cid;
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{AddOptions, Added, Blobs, Error};

/// Files in one request to add.
const MAX_PARTS: usize = 1_000;

impl Blobs {
    /// `GET|HEAD /ipfs/{cid}`, `POST /api/v0/add` and `HEAD|PATCH /uploads/{id}`, without CORS.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/ipfs/{cid}", get(serve))
            // Sizes are bounded per blob while streaming, not per body.
            .route("/api/v0/add", post(add).layer(DefaultBodyLimit::disable()))
            .with_state(self.clone())
            .merge(crate::parts::router(self))
    }
}

async fn serve(
    State(blobs): State<Blobs>,
    method: Method,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let cid = Blobs::parse_cid(&text)?;
    let Some(blob) = blobs.open_blob(&cid).await? else {
        let body = json!({ "error": { "code": "GM-4304", "message": format!("no blob {cid} here"),
            "remedy": "add the file to this gateway, or ask the one that has it" } });
        return Ok((StatusCode::NOT_FOUND, axum::Json(body)).into_response());
    };
    let etag = format!("\"{cid}\"");
    let size = blob.size;
    if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| matches(seen, &etag)) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED, &cid, &etag, None, Body::empty()));
    }
    match wanted_range(&headers, &etag, size) {
        Wanted::All => {
            let body =
                if method == Method::HEAD { Body::empty() } else { stream(blob.into_reader()) };
            Ok(with_headers(StatusCode::OK, &cid, &etag, Some(size), body))
        }
        Wanted::Part { first, last } => {
            let length = last - first + 1;
            let body = match method {
                Method::HEAD => Body::empty(),
                _ => stream(blob.into_range(first, length).await?),
            };
            let mut response =
                with_headers(StatusCode::PARTIAL_CONTENT, &cid, &etag, Some(length), body);
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            Ok(response)
        }
        Wanted::Nothing => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            Ok(response)
        }
    }
}

fn stream(reader: impl tokio::io::AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(reader, 64 << 10))
}

fn with_headers(
    status: StatusCode,
    cid: &Cid,
    etag: &str,
    length: Option<u64>,
    body: Body,
) -> Response {
    let mut response = (status, body).into_response();
    // Anything may be stored here: nothing of it may ever run as a page of this origin.
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    set(&mut response, header::CACHE_CONTROL, "public, max-age=29030400, immutable");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, etag);
    set(&mut response, HeaderName::from_static("x-ipfs-path"), &format!("/ipfs/{cid}"));
    if let Some(length) = length {
        set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    }
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn matches(seen: &HeaderValue, etag: &str) -> bool {
    let Ok(seen) = seen.to_str() else { return false };
    seen.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// Which bytes a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part { first: u64, last: u64 },
    Nothing,
}

fn wanted_range(headers: &HeaderMap, etag: &str, size: u64) -> Wanted {
    // Here a weak tag, a date or a star is as good as none.
    if headers.get(header::IF_RANGE).is_some_and(|seen| seen != etag) {
        return Wanted::All;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().map(HeaderValue::to_str), ranges.next()) {
        (Some(Ok(range)), None) => parse_range(range, size),
        _ => Wanted::All,
    }
}

/// One range. Several at once, or what is no range at all, give the whole, as the standard allows.
fn parse_range(text: &str, size: u64) -> Wanted {
    let Some((first, last)) =
        text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    if last.contains(',') {
        return Wanted::All;
    }
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Wanted::All,
        (Ok(first), _) if first >= size => Wanted::Nothing,
        (Ok(first), Ok(last)) => Wanted::Part { first, last: last.min(size - 1) },
        (Ok(first), Err(_)) if last.is_empty() => Wanted::Part { first, last: size - 1 },
        (Err(_), Ok(0)) if first.is_empty() => Wanted::Nothing,
        (Err(_), Ok(_)) if first.is_empty() && size == 0 => Wanted::Nothing,
        (Err(_), Ok(tail)) if first.is_empty() => {
            Wanted::Part { first: size.saturating_sub(tail), last: size - 1 }
        }
        _ => Wanted::All,
    }
}

/// The parameters of kubo's `add` that change anything here; all others are ignored, as kubo ignores unknown ones.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AddQuery {
    cid_version: Option<String>,
    raw_leaves: Option<String>,
    #[serde(alias = "n")]
    only_hash: Option<String>,
}

impl AddQuery {
    fn options(&self) -> AddOptions {
        let on = |flag: &Option<String>| {
            flag.as_deref().is_some_and(|flag| matches!(flag, "" | "true" | "1"))
        };
        let v1 = self.cid_version.as_deref() == Some("1");
        let raw_leaves = if self.raw_leaves.is_some() { on(&self.raw_leaves) } else { v1 };
        AddOptions { v1, raw_leaves, only_hash: on(&self.only_hash) }
    }
}

async fn add(
    State(blobs): State<Blobs>,
    Query(query): Query<AddQuery>,
    mut parts: Multipart,
) -> Response {
    let mut lines = String::new();
    let mut files = 0;
    loop {
        let part = match parts.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => return refused(error.status(), &error.body_text()),
        };
        if part.content_type() == Some("application/x-directory") {
            continue;
        }
        files += 1;
        if files > MAX_PARTS {
            return refused(
                StatusCode::BAD_REQUEST,
                "too many files in one request: at most 1,000",
            );
        }
        let name = part.file_name().map(percent_decoded).unwrap_or_default();
        match blobs.add_with(reader(part), query.options()).await {
            Ok(added) => {
                let cid = added.cid.to_string();
                lines += &told(if name.is_empty() { &cid } else { &name }, &added);
            }
            Err(error @ Error::TooLarge { .. }) => {
                return refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string());
            }
            Err(error @ Error::Full { .. }) => {
                let told = format!("{error} ({}): {}", error.code(), error.remedy());
                return refused(StatusCode::INSUFFICIENT_STORAGE, &told);
            }
            Err(error) => return refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
    if files == 0 {
        return refused(StatusCode::BAD_REQUEST, "file argument 'path' is required");
    }
    ([(header::CONTENT_TYPE, "application/json")], lines).into_response()
}

/// What kubo says of a file that it added.
pub(crate) fn told(name: &str, added: &Added) -> String {
    let (cid, size) = (added.cid.to_string(), added.dag_size.to_string());
    format!("{}\n", json!({ "Name": name, "Hash": cid, "Size": size }))
}

fn reader(part: Field<'_>) -> impl tokio::io::AsyncRead + Unpin {
    StreamReader::new(part.map_err(|error: MultipartError| std::io::Error::other(error)))
}

/// kubo's shape of an error.
fn refused(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "Message": message, "Code": 0, "Type": "error" }))).into_response()
}

/// File names come percent-encoded in the part's header.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self {
            Self::BadCid { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::Misplaced { .. } => StatusCode::CONFLICT,
            Self::OtherContent => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsure { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        let error =
            json!({ "code": self.code(), "message": self.to_string(), "remedy": self.remedy() });
        (status, axum::Json(json!({ "error": error }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(range: &str, size: u64, want: &Expect) {
        want.assert_eq(&format!("{:?}", parse_range(range, size)));
    }

    #[test]
    fn ranges() {
        check("bytes=0-4", 10, &expect!["Part { first: 0, last: 4 }"]);
        check("bytes=4-", 10, &expect!["Part { first: 4, last: 9 }"]);
        check("bytes=-3", 10, &expect!["Part { first: 7, last: 9 }"]);
        check("bytes=-30", 10, &expect!["Part { first: 0, last: 9 }"]);
        check("bytes=5-99", 10, &expect!["Part { first: 5, last: 9 }"]);
        check("bytes=10-", 10, &expect!["Nothing"]);
        check("bytes=-0", 10, &expect!["Nothing"]);
        check("bytes=0-0", 0, &expect!["Nothing"]);
        check("bytes=-1", 0, &expect!["Nothing"]);
        check("bytes=5-4", 10, &expect!["All"]);
        check("bytes=0-1,3-4", 10, &expect!["All"]);
        check("lines=0-1", 10, &expect!["All"]);
        check("bytes=x-", 10, &expect!["All"]);
        check("bytes=--1", 10, &expect!["All"]);
        check("bytes=-", 10, &expect!["All"]);
        // Beyond what any number here holds.
        check("bytes=0-99999999999999999999999999", 10, &expect!["All"]);
        check("bytes=99999999999999999999999999-", 10, &expect!["All"]);
        check("bytes=0-18446744073709551615", 10, &expect!["Part { first: 0, last: 9 }"]);
        check("bytes=18446744073709551615-", 10, &expect!["Nothing"]);
        check("bytes=-18446744073709551615", 10, &expect!["Part { first: 0, last: 9 }"]);
    }

    proptest! {
        #[test]
        fn a_part_is_never_outside(text in "bytes=[0-9]{0,3}-[0-9]{0,3}", size in 0_u64..300) {
            if let Wanted::Part { first, last } = parse_range(&text, size) {
                prop_assert!(first <= last && last < size, "{first}-{last} of {size}");
            }
        }

        #[test]
        fn decoding_never_panics(text in "\\PC*") {
            let _ = percent_decoded(&text);
        }
    }

    #[test]
    fn names_are_decoded() {
        assert_eq!(percent_decoded("a%20b%2"), "a b%2");
    }
}
