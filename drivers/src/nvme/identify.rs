//! Who the controller is and what its namespace holds, as far as it makes sense.

use alloc::string::String;

use hw::nvme::identify::{IdentifyController, IdentifyNamespace};
use hw::nvme::regs::Version;

use super::error::StartError;

/// What a controller says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerInfo {
    /// Serial number.
    pub serial: String,
    /// Model name.
    pub model: String,
    /// Firmware revision.
    pub firmware: String,
    /// Version of the specification it follows: major and minor.
    pub version: (u16, u8),
    /// How many namespaces it may have.
    pub namespaces: u32,
    /// Most bytes one command may move; `None` for no limit.
    pub max_transfer_bytes: Option<u64>,
}

impl ControllerInfo {
    /// Takes the identify data of a controller whose smallest memory page is `2^page_size_log2` bytes.
    pub(super) fn new(data: &IdentifyController, version: Version, page_size_log2: u32) -> Self {
        Self {
            serial: text(&data.sn),
            model: text(&data.mn),
            firmware: text(&data.fr),
            version: (version.mjr(), version.mnr()),
            namespaces: data.nn,
            max_transfer_bytes: match u32::from(data.mdts) {
                0 => None,
                mdts => Some(1u64.checked_shl(page_size_log2 + mdts).unwrap_or(u64::MAX)),
            },
        }
    }
}

/// A namespace: the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    id: u32,
    blocks: u64,
    block_size_log2: u32,
}

impl Namespace {
    /// Takes the identify data of namespace `id`.
    ///
    /// # Errors
    /// [`StartError::Format`] for formats the driver does not know.
    pub(super) fn new(id: u32, data: &IdentifyNamespace) -> Result<Self, StartError> {
        let format = data.format();
        if !(9..=16).contains(&format.lbads()) || format.ms() != 0 {
            return Err(StartError::Format {
                namespace: id,
                block_size_log2: format.lbads(),
                metadata_bytes: format.ms(),
            });
        }
        let block_size_log2 = u32::from(format.lbads());
        // More bytes than 64 bits count cannot be read: the end of such a namespace is left unused.
        let blocks = data.nsze.min(u64::MAX >> block_size_log2);
        Ok(Self {
            id,
            blocks,
            block_size_log2,
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Number of logical blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u64 {
        1 << self.block_size_log2
    }

    /// Bytes of all blocks.
    pub fn len_bytes(&self) -> u64 {
        self.blocks << self.block_size_log2
    }
}

/// An identify string: printable ASCII, padded with spaces; anything else shows as `?`.
fn text(bytes: &[u8]) -> String {
    let printable = bytes.iter().map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        0 => ' ',
        _ => '?',
    });
    String::from(printable.collect::<String>().trim())
}

#[cfg(test)]
mod tests {
    use hw::nvme::identify::LbaFormat;
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn strings_are_trimmed_and_made_printable() {
        assert_eq!(text(b"  disk 1\xff\x00\x00  "), "disk 1?");
        assert_eq!(text(&[0; 8]), "");
    }

    #[test]
    fn the_transfer_limit_is_in_pages_and_may_be_absent() {
        let mut data = IdentifyController::new_zeroed();
        let limit = |data: &_| ControllerInfo::new(data, Version::new(), 12).max_transfer_bytes;
        assert_eq!(limit(&data), None);
        data.mdts = 5;
        assert_eq!(limit(&data), Some(128 << 10));
        data.mdts = 255;
        assert_eq!(limit(&data), Some(u64::MAX));
    }

    #[test]
    fn formats_that_cannot_be_are_refused() {
        let mut data = IdentifyNamespace::new_zeroed();
        data.nsze = u64::MAX;
        for lbads in 0..=u8::MAX {
            data.lbaf[0] = LbaFormat::new().with_lbads(lbads).into_bits();
            let namespace = Namespace::new(1, &data);
            assert_eq!(namespace.is_ok(), (9..=16).contains(&lbads));
            if let Ok(namespace) = namespace {
                assert!(namespace.len_bytes() <= u64::MAX - 511);
            }
        }
        data.lbaf[0] = LbaFormat::new().with_lbads(9).with_ms(8).into_bits();
        assert!(Namespace::new(1, &data).is_err());
    }
}
