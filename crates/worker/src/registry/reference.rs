//! What an app calls its image: `registry.example:5000/team/app:1@sha256:…`, every part but the name optional, in the
//! ways that people are used to from `docker pull`.

use std::net::IpAddr;

use alloy_primitives::B256;

/// Where an image is when its name says nothing else.
const DEFAULT_HOST: &str = "docker.io";
/// Where that one really answers.
const DEFAULT_API: &str = "registry-1.docker.io";
const DEFAULT_TAG: &str = "latest";
const NAME_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    host: String,
    /// Path of the repository: `library/app`.
    pub(crate) name: String,
    pub(crate) tag: String,
    /// What its manifest, or its index of manifests, must be.
    pub(crate) digest: Option<B256>,
}

impl Reference {
    /// Reads a name; nothing if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(sha256(digest)?)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => {
                (first, rest)
            }
            _ => (DEFAULT_HOST, rest),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) => (name, tag),
            None => (rest, DEFAULT_TAG),
        };
        let alone = host == DEFAULT_HOST && !name.contains('/');
        let name = if alone { format!("library/{name}") } else { name.to_owned() };
        let fits = is_host(host) && is_name(&name) && is_tag(tag);
        fits.then(|| Self { host: host.to_ascii_lowercase(), name, tag: tag.to_owned(), digest })
    }

    /// The registry's own address. Plain HTTP on this machine only, as Docker does it.
    pub(crate) fn origin(&self) -> String {
        let host = if self.host == DEFAULT_HOST { DEFAULT_API } else { &self.host };
        let alone = host.rsplit_once(':').map_or(host, |(alone, _)| alone);
        let here = alone == "localhost"
            || alone.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let scheme = if here { "http" } else { "https" };
        format!("{scheme}://{host}")
    }
}

/// A digest as registries write it.
pub(crate) fn sha256(digest: &str) -> Option<B256> {
    let hash = digest.strip_prefix("sha256:")?;
    let plain = hash.len() == 64 && hash.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    if plain { hash.parse().ok() } else { None }
}

fn is_host(host: &str) -> bool {
    let (alone, port) = host.split_once(':').unwrap_or((host, "443"));
    !alone.is_empty()
        && alone.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-'))
        && port.parse::<u16>().is_ok()
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let ends = part.as_bytes().first().zip(part.as_bytes().last());
        let is_plain = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        ends.is_some_and(|(first, last)| is_plain(first) && is_plain(last))
            && part.bytes().all(|it| is_plain(&it) || matches!(it, b'.' | b'_' | b'-'))
            && !part.contains("..")
    };
    name.len() <= NAME_CHARS_MAX && name.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    tag.len() <= TAG_CHARS_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|it| is_word(it) || matches!(it, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, want: &Expect) {
        let shown = Reference::parse(text).map_or_else(
            || "none".to_owned(),
            |it| {
                let digest = it.digest.map(|digest| format!(" at {digest}")).unwrap_or_default();
                format!("{} {} {}{digest}", it.origin(), it.name, it.tag)
            },
        );
        want.assert_eq(&shown);
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        check("alpine", &expect!["https://registry-1.docker.io library/alpine latest"]);
        check(
            "iexechub/hello:8.0.0",
            &expect!["https://registry-1.docker.io iexechub/hello 8.0.0"],
        );
        check("docker.io/alpine:3", &expect!["https://registry-1.docker.io library/alpine 3"]);
        check("Ghcr.IO/a/b_c/d-e:v1", &expect!["https://ghcr.io a/b_c/d-e v1"]);
        check("localhost:5000/a", &expect!["http://localhost:5000 a latest"]);
        check("127.0.0.1:80/a/b", &expect!["http://127.0.0.1:80 a/b latest"]);
        check("10.0.0.1:5000/a", &expect!["https://10.0.0.1:5000 a latest"]);
        let pinned = format!("r.example/a@sha256:{}", "ab".repeat(32));
        check(
            &pinned,
            &expect![
                "https://r.example a latest at 0xabababababababababababababababababababababababababababababababab"
            ],
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "/etc/passwd",
            "a/../b",
            "r.example/",
            "r.example/A",
            "r.example/a b",
            "r.example/a:",
            "r.example/a:-x",
            "r.example/a@sha256:12",
            "r.example/a@md5:12",
            "r.example:99999/a",
            "user:password@r.example/a",
            "r.example/a?x=y",
            "r.example/%2e%2e/a",
            "https://r.example/a",
        ] {
            check(text, &expect!["none"]);
        }
    }
}
