//! What a program prints, on its way to who bought the run.
//!
//! ```text
//! sandbox ──pieces──▶ tap (bounded) ──some times a second──▶ scheduler ──▶ requester
//! ```
//!
//! A run of a moment says nothing here: its output travels with its result. Of one that prints without end, so much is told
//! each second and the rest is counted. Nothing here ever holds a program up.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::TaskId;
use sandbox::{Ear, Listener, Stream};
use wire::link::{LOG_TEXT_BYTES_MAX, LogStream, ToScheduler};

use crate::link::Voice;

/// How long a run must last to be worth following.
const FIRST_AFTER: Duration = Duration::from_millis(400);
/// How often what was printed is told.
const EVERY: Duration = Duration::from_millis(250);
/// What of each stream may wait to be told; also what is told at most each time.
const HELD_BYTES_MAX: usize = 32 << 10;
/// What is told of one run at most.
const TOLD_BYTES_MAX: u64 = 4 << 20;

/// Hears a run.
#[derive(Debug)]
pub(crate) struct Tap {
    task: TaskId,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    streams: Mutex<[Held; 2]>,
}

/// What one stream printed and nobody was told yet.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    missed: u64,
    told: u64,
}

impl Listener for Heard {
    fn heard(&self, stream: Stream, piece: &[u8]) {
        let held = &mut self.streams.lock()[place(stream)];
        let room = HELD_BYTES_MAX.saturating_sub(held.bytes.len());
        // Once something is left out, what comes after it must not be told before.
        let fits = if held.missed > 0 { 0 } else { piece.len().min(room) };
        held.bytes.extend_from_slice(&piece[..fits]);
        held.missed = held.missed.saturating_add((piece.len() - fits) as u64);
    }
}

impl Tap {
    pub(crate) fn new(task: TaskId) -> Self {
        Self { task, heard: Arc::default() }
    }

    /// For the sandbox.
    pub(crate) fn ear(&self) -> Ear {
        Ear::of(Arc::clone(&self.heard) as Arc<dyn Listener>)
    }

    /// Tells what is heard while the run goes on; gives back what the run does.
    pub(crate) async fn tell_while<T>(&self, voice: &Voice, run: impl Future<Output = T>) -> T {
        let telling = async {
            tokio::time::sleep(FIRST_AFTER).await;
            loop {
                self.tell(voice, false).await;
                tokio::time::sleep(EVERY).await;
            }
        };
        let begun = tokio::time::Instant::now();
        let outcome = tokio::select! {
            outcome = run => outcome,
            () = telling => std::future::pending().await,
        };
        if begun.elapsed() >= FIRST_AFTER {
            self.tell(voice, true).await;
        }
        outcome
    }

    async fn tell(&self, voice: &Voice, is_last: bool) {
        for (stream, name) in
            [(Stream::Stdout, LogStream::Stdout), (Stream::Stderr, LogStream::Stderr)]
        {
            let taken = self.heard.streams.lock()[place(stream)].take(is_last);
            let Some((text, mut missed)) = taken else { continue };
            let mut rest = text.as_str();
            loop {
                let (piece, more) = rest.split_at(rest.floor_char_boundary(LOG_TEXT_BYTES_MAX));
                let (task_id, text) = (self.task, piece.to_owned());
                voice.mention(&ToScheduler::Log { task_id, stream: name, text, missed });
                missed = 0;
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}

impl Held {
    /// What can be told now, and what was left out before it.
    fn take(&mut self, is_last: bool) -> Option<(String, u64)> {
        if self.bytes.is_empty() && self.missed == 0 {
            return None;
        }
        if self.told >= TOLD_BYTES_MAX {
            self.missed = self.missed.saturating_add(self.bytes.len() as u64);
            self.bytes.clear();
            return (is_last && self.missed > 0)
                .then(|| (String::new(), std::mem::take(&mut self.missed)));
        }
        // A character that is not whole yet waits for its end.
        let whole = if is_last { self.bytes.len() } else { whole_chars(&self.bytes) };
        if whole == 0 && self.missed == 0 {
            return None;
        }
        let rest = self.bytes.split_off(whole);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        self.told = self.told.saturating_add(bytes.len() as u64);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // What was left out came after this piece: it is told with the next.
        if self.missed > 0 && bytes.is_empty() {
            return Some((text, std::mem::take(&mut self.missed)));
        }
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            return Some((format!("{text}\n[{missed} bytes are left out here]\n"), 0));
        }
        Some((text, 0))
    }
}

fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// How many bytes at the start are whole characters, or no characters at all.
fn whole_chars(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        // Only an unexpected end is worth waiting for.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pieces: &[&[u8]]) -> Held {
        let heard = Heard::default();
        for piece in pieces {
            heard.heard(Stream::Stdout, piece);
        }
        let mut streams = heard.streams.lock();
        std::mem::take(&mut streams[0])
    }

    #[test]
    fn a_character_that_is_cut_waits_for_its_end() {
        let e = "\u{e9}".as_bytes();
        let mut cut = held(&[b"cut ", &e[..1]]);
        assert_eq!(cut.take(false), Some(("cut ".to_owned(), 0)));
        assert_eq!(cut.take(false), None);
        cut.bytes.push(e[1]);
        assert_eq!(cut.take(false), Some(("\u{e9}".to_owned(), 0)));
        let mut broken = held(&[&e[..1]]);
        assert_eq!(broken.take(true), Some(("\u{fffd}".to_owned(), 0)));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut much = held(&[&[b'x'; HELD_BYTES_MAX], b"12345", b"6"]);
        let (text, missed) = much.take(false).unwrap();
        assert!(text.ends_with("x\n[6 bytes are left out here]\n") && missed == 0);
        assert_eq!(much.take(true), None);
    }

    #[test]
    fn a_run_is_not_told_of_for_ever() {
        let mut long = Held { told: TOLD_BYTES_MAX, ..held(&[b"more"]) };
        assert_eq!(long.take(false), None);
        assert_eq!(long.take(true), Some((String::new(), 4)));
    }
}
