//! QEMU's version, as its programs print it.

use std::fmt;

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl Version {
    /// The oldest QEMU that serves: it has the device `iommu-testdev`, and IOMMU models that follow the manuals.
    pub const OLDEST: Self = Self {
        major: 11,
        minor: 1,
        patch: 0,
    };

    /// From what `--version` prints: "QEMU emulator version 11.1.3 (Debian …)".
    pub(super) fn parse(printed: &str) -> Option<Self> {
        let (_, rest) = printed.split_once("version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Self {
            major: number()?,
            minor: number()?,
            patch: number().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_qemu_prints_them() {
        let version = |major, minor, patch| Version {
            major,
            minor,
            patch,
        };
        for (printed, expected) in [
            (
                "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright (c) …",
                Some(version(11, 1, 3)),
            ),
            (
                "QEMU emulator version 12.0.50 (v12.0.0-1-gabcdef)",
                Some(version(12, 0, 50)),
            ),
            ("QEMU emulator version 7.2\n", Some(version(7, 2, 0))),
            ("command not found", None),
            ("version x.y", None),
        ] {
            assert_eq!(Version::parse(printed), expected, "{printed}");
        }
        assert!(version(11, 0, 9) < Version::OLDEST && Version::OLDEST <= version(11, 1, 0));
    }
}
