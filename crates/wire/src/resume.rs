//! Downloads that go on after a cut line.
//!
//! A file is gone on with only if it is certainly the same: by its strong tag, or because its checksum is looked at in the
//! end. Any answer that is not plainly the rest of it means: from the start.

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap, HeaderValue};

/// What a server said of a file, enough to ask it for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    tag: Option<HeaderValue>,
    size_bytes: Option<u64>,
}

impl Mark {
    /// Of an answer that is a whole file; nothing if there is no going on with it. `is_checked` says that the caller compares
    /// the file with a checksum, and begins anew if it is another.
    pub fn of(whole: &HeaderMap, is_checked: bool) -> Option<Self> {
        let is_strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
        let tag = whole.get(header::ETAG).filter(is_strong).cloned();
        let takes_ranges =
            whole.get(header::ACCEPT_RANGES).is_some_and(|units| units.as_bytes() == b"bytes");
        let size_bytes = text(whole, header::CONTENT_LENGTH).and_then(|size| size.parse().ok());
        let can = tag.is_some() || (is_checked && takes_ranges && size_bytes.is_some());
        can.then_some(Self { tag, size_bytes })
    }

    /// What to say in a request for all from that byte on.
    pub fn ask(&self, from: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::try_from(format!("bytes={from}-")) {
            headers.insert(header::RANGE, range);
        }
        if let Some(tag) = &self.tag {
            headers.insert(header::IF_RANGE, tag.clone());
        }
        headers
    }

    /// Whether the answer to that is the rest of the same file.
    pub fn goes_on(&self, status: StatusCode, answer: &HeaderMap, from: u64) -> bool {
        let range = text(answer, header::CONTENT_RANGE).and_then(|range| {
            let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
            let first = range.split_once('-')?.0.parse::<u64>().ok()?;
            Some((first, size.parse::<u64>().ok()))
        });
        let same_size = |size: Option<u64>| match (self.size_bytes, size) {
            (Some(known), Some(size)) => known == size,
            _ => self.tag.is_some(),
        };
        status == StatusCode::PARTIAL_CONTENT
            && range.is_some_and(|(first, size)| first == from && same_size(size))
            && answer.get(header::ETAG).is_none_or(|tag| Some(tag) == self.tag.as_ref())
    }

    /// Whether that is all of the file, as far as is known.
    pub fn is_all(&self, bytes: u64) -> bool {
        self.size_bytes.is_none_or(|size| size == bytes)
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (header::HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(pair).collect()
    }

    fn check(
        whole: &[(&'static str, &str)],
        is_checked: bool,
        rest: &[(&'static str, &str)],
    ) -> &'static str {
        let Some(mark) = Mark::of(&headers(whole), is_checked) else { return "from the start" };
        assert_eq!(mark.ask(5)["range"], "bytes=5-");
        assert_eq!(mark.ask(5).contains_key("if-range"), mark.tag.is_some());
        assert!(!mark.goes_on(StatusCode::OK, &headers(rest), 5), "that is the whole");
        if mark.goes_on(StatusCode::PARTIAL_CONTENT, &headers(rest), 5) {
            "the rest"
        } else {
            "another"
        }
    }

    #[test]
    fn only_what_is_certainly_the_same_file_is_gone_on_with() {
        let tagged = &[("etag", "\"a\""), ("content-length", "9")];
        assert_eq!(check(tagged, false, &[("content-range", "bytes 5-8/9")]), "the rest");
        assert_eq!(check(tagged, false, &[("content-range", "bytes 5-8/*")]), "the rest");
        assert_eq!(check(tagged, false, &[("content-range", "bytes 4-8/9")]), "another");
        assert_eq!(check(tagged, false, &[("content-range", "bytes 5-8/10")]), "another");
        assert_eq!(check(tagged, false, &[("content-range", "lines 5-8/9")]), "another");
        assert_eq!(check(tagged, false, &[]), "another");
        let other = &[("content-range", "bytes 5-8/9"), ("etag", "\"b\"")];
        assert_eq!(check(tagged, false, other), "another");
        let weak = &[("etag", "W/\"a\""), ("content-length", "9"), ("accept-ranges", "bytes")];
        assert_eq!(check(weak, false, &[]), "from the start");
        assert_eq!(check(weak, true, &[("content-range", "bytes 5-8/9")]), "the rest");
        assert_eq!(check(weak, true, &[("content-range", "bytes 5-8/*")]), "another");
        assert_eq!(check(&[("content-length", "9")], true, &[]), "from the start");
        assert_eq!(check(&[("accept-ranges", "bytes")], true, &[]), "from the start");
    }
}
