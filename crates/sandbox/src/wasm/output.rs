//! Standard output and error, kept in memory up to a limit, and told to who listens.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alloy_primitives::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::{Ear, Stream};

/// The most that a program may write in one call; larger writes come in parts.
const PERMIT: usize = 64 << 10;

/// One captured stream; clones share it.
#[derive(Clone)]
pub(super) struct Captured {
    inner: Arc<Mutex<Inner>>,
    ear: Ear,
    stream: Stream,
}

struct Inner {
    bytes: Vec<u8>,
    limit: usize,
    overflowed: bool,
}

impl Captured {
    pub(super) fn new(limit: usize, ear: Ear, stream: Stream) -> Self {
        let inner = Inner { bytes: Vec::new(), limit, overflowed: false };
        Self { inner: Arc::new(Mutex::new(inner)), ear, stream }
    }

    /// Whether the program tried to write past the limit.
    pub(super) fn overflowed(&self) -> bool {
        self.inner.lock().overflowed
    }

    /// What was written, leaving nothing.
    pub(super) fn take(&self) -> Bytes {
        std::mem::take(&mut self.inner.lock().bytes).into()
    }

    fn push(&self, bytes: &[u8]) -> Result<(), ()> {
        let mut inner = self.inner.lock();
        let room = inner.limit - inner.bytes.len().min(inner.limit);
        let fits = &bytes[..bytes.len().min(room)];
        inner.bytes.extend_from_slice(fits);
        self.ear.heard(self.stream, fits);
        inner.overflowed |= bytes.len() > room;
        if inner.overflowed { Err(()) } else { Ok(()) }
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        // A trap rather than an error: a program that ignores write errors would print for ever.
        self.push(&bytes)
            .map_err(|()| StreamError::Trap(wasmtime::Error::msg("output limit reached")))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[async_trait::async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Captured {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(()) => Err(io::ErrorKind::WriteZero.into()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
