//! HTTP without manners: requests as bytes, so that they can be wrong in every way.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// No answer takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The values of a header.
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {} {}", self.status, self.text()))
    }
}

/// One caller, who keeps its connection as long as it may.
pub(super) struct Caller {
    authority: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Caller {
    pub(super) fn new(origin: &Url) -> Self {
        Self { authority: origin.authority().to_owned(), stream: None }
    }

    /// Sends `method target` with these headers and this body, whose length is added.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.authority);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += "\r\n";
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        self.send(&request, method == "HEAD").await
    }

    /// Sends these bytes. `bodiless` says that the answer has no body, whatever its head tells.
    pub(super) async fn send(&mut self, request: &[u8], bodiless: bool) -> Result<Answer> {
        let kept = self.stream.is_some();
        match timeout(PATIENCE, self.exchange(request, bodiless)).await.context("no answer")? {
            Ok(answer) => Ok(answer),
            // A connection that was kept may have been closed meanwhile.
            Err(_) if kept => {
                timeout(PATIENCE, self.exchange(request, bodiless)).await.context("no answer")?
            }
            Err(error) => Err(error),
        }
    }

    async fn exchange(&mut self, request: &[u8], bodiless: bool) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(&self.authority).await?),
        };
        // Who refuses early need not take all of it: the answer may be there all the same.
        let _ = stream.write_all(request).await;
        let answer = read(&mut stream, bodiless).await?;
        let closes = answer.header("connection").contains(&"close");
        if !closes && answer.status != 101 {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

async fn read(stream: &mut BufReader<TcpStream>, bodiless: bool) -> Result<Answer> {
    let status = line(stream).await?;
    let status: u16 = status
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("not HTTP: '{status}'"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("no header: {line}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if bodiless || matches!(status, 101 | 204 | 304) {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").contains(&"chunked") {
        answer.body = chunks(stream).await?;
    } else {
        let length = answer.header("content-length").first().copied().unwrap_or("0").parse()?;
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).await?;
    }
    Ok(answer)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(stream).await?, 16)?;
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..]).await?;
        line(stream).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 {
        bail!("the connection is closed");
    }
    let text = String::from_utf8_lossy(&line);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
