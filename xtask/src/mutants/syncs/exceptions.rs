//! Calls that change nothing when they are left out, and why they are there all the same.

use std::collections::HashMap;

use super::scan::Site;

const FILE: &str = "xtask/syncs.txt";
const TEXT: &str = include_str!("../../../syncs.txt");

/// The list of exceptions.
pub(super) struct Exceptions(HashMap<String, String>);

impl Exceptions {
    /// Reads the list, each of which names one of `sites`.
    pub(super) fn read(sites: &[Site]) -> Result<Self, String> {
        let exceptions = Self::parse(TEXT)?;
        for key in exceptions.0.keys() {
            if !sites.iter().any(|site| site.key() == *key) {
                return Err(format!(
                    "{FILE}: no call is called `{key}`. The source moved: update the list"
                ));
            }
        }
        Ok(exceptions)
    }

    /// Paragraphs: first what several calls have in common, indented, then these calls, one a line. Lines that begin with
    /// `#` are comments.
    fn parse(text: &str) -> Result<Self, String> {
        let mut found = HashMap::new();
        for paragraph in text.split("\n\n") {
            let lines = paragraph.lines().filter(|line| !line.starts_with('#'));
            let (reasons, keys): (Vec<&str>, Vec<&str>) = lines
                .filter(|line| !line.trim().is_empty())
                .partition(|line| line.starts_with(' '));
            let reason = reasons.iter().map(|line| line.trim());
            let reason = reason.collect::<Vec<_>>().join(" ");
            for key in keys {
                if reason.is_empty() {
                    return Err(format!("{FILE}: `{key}` has no reason"));
                }
                if found
                    .insert(key.trim().to_owned(), reason.clone())
                    .is_some()
                {
                    return Err(format!("{FILE}: `{key}` is there twice"));
                }
            }
        }
        Ok(Self(found))
    }

    /// Why leaving out this call changes nothing, if it does not.
    pub(super) fn reason(&self, site: &Site) -> Option<&str> {
        self.0.get(&site.key()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_the_reason_of_their_paragraph_and_one_without_is_refused() {
        let text = "# Comment.\n\n    Of no\n    use.\na f x.read\nb g y.read\n";
        let read = Exceptions::parse(text).unwrap();
        assert_eq!(read.0["b g y.read"], "Of no use.");
        assert_eq!(read.0.len(), 2);
        assert!(Exceptions::parse("a f x.read\n").is_err());
        assert!(Exceptions::parse("    Why.\na\n\n    Why.\na\n").is_err());
        let gone = Exceptions::read(&[]).err().unwrap();
        assert!(gone.contains("update the list"), "{gone}");
    }
}
