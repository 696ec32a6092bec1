//! `/uploads/{id}`: a file in parts, which goes on after an interruption of the line or of either side.
//!
//! ```text
//! HEAD                                        200 Upload-Offset, Upload-Length, Upload-Sha256 · 404
//! PATCH Upload-Offset, -Length, -Sha256       204 Upload-Offset: go on from there
//!                                             200 as kubo's add: that was all
//!                                             409 Upload-Offset: it goes on there instead
//! ```
//! The id is 64 hexadecimal digits of the sender's choice. Whoever knows it can go on with the upload or spoil it, so it is
//! best a secret.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::patch;
use futures::TryStreamExt;
use serde_json::json;
use tokio_util::io::StreamReader;

use crate::http::told;
use crate::uploads::{hex, unhex};
use crate::{Announced, Blobs, Error, Key, Part};

const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";
const CHECKSUM: &str = "upload-sha256";

pub(crate) fn router(blobs: &Blobs) -> Router {
    // What was announced bounds a part, not the framework.
    let door = patch(take).head(place).layer(DefaultBodyLimit::disable());
    Router::new().route("/uploads/{id}", door).with_state(blobs.clone())
}

async fn place(State(blobs): State<Blobs>, Path(id): Path<String>) -> Response {
    let Some(key) = unhex(&id) else { return StatusCode::BAD_REQUEST.into_response() };
    match blobs.parcels().standing(key).await {
        Ok(Some(its)) => AppendHeaders([
            (OFFSET, its.offset.to_string()),
            (LENGTH, its.announced.size.to_string()),
            (CHECKSUM, format!("0x{}", hex(&its.announced.sha256))),
        ])
        .into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn take(
    State(blobs): State<Blobs>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some((key, announced, offset)) = said(&id, &headers) else {
        let message = "an upload has an id of 64 hexadecimal digits, and a part says its \
                       Upload-Offset, Upload-Length and Upload-Sha256";
        let error = json!({ "code": "GM-8607", "message": message, "remedy": "say them" });
        let body = axum::Json(json!({ "error": error }));
        return (StatusCode::BAD_REQUEST, body).into_response();
    };
    // Checking a large file takes longer than some wait for the answer: who asks again hears it.
    let taking = tokio::spawn(async move { taken(&blobs, key, announced, offset, body).await });
    match taking.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Error::Misplaced { offset })) => {
            let answer = Error::Misplaced { offset }.into_response();
            (AppendHeaders([(OFFSET, offset.to_string())]), answer).into_response()
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn taken(
    blobs: &Blobs,
    key: Key,
    announced: Announced,
    offset: u64,
    body: Body,
) -> Result<Response, Error> {
    let from = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let line = match blobs.parcels().take(key, announced, offset, from).await? {
        Part::UpTo(offset) => {
            let headers = AppendHeaders([(OFFSET, offset.to_string())]);
            return Ok((StatusCode::NO_CONTENT, headers).into_response());
        }
        Part::Known(line) => line,
        Part::Whole(whole) => {
            let added = blobs.add_parcel(&whole).await?;
            let line = told(&added.cid.to_string(), &added);
            whole.done(&line).await;
            line
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], line).into_response())
}

fn said(id: &str, headers: &HeaderMap) -> Option<(Key, Announced, u64)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let sha256 = unhex(text(CHECKSUM)?.trim_start_matches("0x"))?;
    let announced = Announced { size: text(LENGTH)?.parse().ok()?, sha256 };
    Some((unhex(id)?, announced, text(OFFSET)?.parse().ok()?))
}
