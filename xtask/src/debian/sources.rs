//! The machine's own package sources: which of them is Debian's main archive, so that no mirror is named here.
//!
//! Both forms are read: one line each (`sources.list`), and fields in paragraphs (deb822, `.sources`).

use std::fs;
use std::path::{Path, PathBuf};

/// Suites by which the main archive is told from others.
const SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The mirror.
    pub(crate) uri: String,
    /// The file with the keys its indexes are signed with, where the source names one.
    pub(crate) signed_by: Option<String>,
}

/// The first source below `etc_apt` that is Debian's main archive.
pub(crate) fn main_archive(etc_apt: &Path) -> Option<Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    let parts = fs::read_dir(etc_apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten();
    let mut parts: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    files.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        match path.extension()?.to_str()? {
            "list" => from_lines(&text),
            "sources" => from_paragraphs(&text),
            _ => None,
        }
    })
}

/// What a source says, in either form.
#[derive(Default)]
struct Entry<'a> {
    types: Vec<&'a str>,
    uris: Vec<&'a str>,
    suites: Vec<&'a str>,
    components: Vec<&'a str>,
    signed_by: Option<&'a str>,
}

impl Entry<'_> {
    fn into_main_archive(self) -> Option<Source> {
        let is_main = self.types.contains(&"deb")
            && self.components.contains(&"main")
            && self.suites.iter().any(|suite| SUITES.contains(suite));
        let uri = self.uris.first().filter(|_| is_main)?;
        let path = self.signed_by.filter(|keys| keys.starts_with('/'));
        Some(Source {
            uri: (*uri).into(),
            signed_by: path.map(Into::into),
        })
    }
}

/// `deb [option=value …] uri suite component …`
fn from_lines(text: &str) -> Option<Source> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let (types, rest) = line.split_once(char::is_whitespace)?;
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let entry = Entry {
            types: vec![types],
            uris: vec![words.next()?],
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by=")),
        };
        entry.into_main_archive()
    })
}

/// `Field: value …`, a paragraph for each source.
fn from_paragraphs(text: &str) -> Option<Source> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let paragraphs = uncommented.split(|line| line.trim().is_empty());
    paragraphs.into_iter().find_map(|paragraph| {
        let mut entry = Entry::default();
        for line in paragraph {
            // A continued field (a key in full) starts with a space and has no name.
            let Some((field, value)) = line.split_once(':').filter(|_| !line.starts_with(' '))
            else {
                continue;
            };
            let values = value.split_whitespace().collect();
            match field.to_ascii_lowercase().as_str() {
                "types" => entry.types = values,
                "uris" => entry.uris = values,
                "suites" => entry.suites = values,
                "components" => entry.components = values,
                "signed-by" => entry.signed_by = values.first().copied(),
                "enabled" if values == ["no"] => return None,
                _ => {}
            }
        }
        entry.into_main_archive()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, signed_by: Option<&str>) -> Option<Source> {
        Some(Source {
            uri: uri.into(),
            signed_by: signed_by.map(Into::into),
        })
    }

    #[test]
    fn the_main_archive_is_found_among_lines() {
        let text = "
            # deb http://commented.example/debian trixie main
            deb-src http://mirror.example/debian trixie main
            deb http://security.example/debian-security trixie-security main
            deb [arch=amd64 signed-by=/keys/x.gpg] http://mirror.example/debian trixie contrib main # ours
            deb http://other.example/debian trixie main";
        assert_eq!(
            from_lines(text),
            source("http://mirror.example/debian", Some("/keys/x.gpg"))
        );
        let plain = "deb http://mirror.example/debian/ stable main\n";
        assert_eq!(
            from_lines(plain),
            source("http://mirror.example/debian/", None)
        );
        assert_eq!(
            from_lines("deb http://mirror.example/ubuntu noble main"),
            None
        );
        assert_eq!(
            from_lines("deb http://mirror.example/debian sid contrib\ndeb\ndeb [x"),
            None
        );
    }

    #[test]
    fn the_main_archive_is_found_among_paragraphs() {
        let text = "\
# a comment
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb deb-src
# http://snapshot.example/debian
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg
";
        let found = source(
            "http://mirror.example/debian",
            Some("/usr/share/keyrings/k.gpg"),
        );
        assert_eq!(from_paragraphs(text), found);
        let key_in_full = "Types: deb\nURIs: http://m.example/debian\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc:def\n";
        assert_eq!(
            from_paragraphs(key_in_full),
            source("http://m.example/debian", None)
        );
    }

    #[test]
    fn all_files_are_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        assert_eq!(main_archive(folder.path()), None);
        let text = "Types: deb\nURIs: http://m.example/debian\nSuites: trixie\nComponents: main\n";
        fs::write(parts.join("debian.sources.off"), text).unwrap();
        assert_eq!(
            main_archive(folder.path()),
            None,
            "apt reads no such file either"
        );
        fs::write(parts.join("debian.sources"), text).unwrap();
        assert_eq!(
            main_archive(folder.path()),
            source("http://m.example/debian", None)
        );
        fs::write(
            folder.path().join("sources.list"),
            "deb http://first.example/debian sid main",
        )
        .unwrap();
        assert_eq!(
            main_archive(folder.path()),
            source("http://first.example/debian", None)
        );
    }
}
