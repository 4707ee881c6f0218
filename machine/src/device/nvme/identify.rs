//! What the controller and its namespace say of themselves.

use hw::nvme::identify::{DATA_BYTES, IdentifyController, IdentifyNamespace, LbaFormat};
use hw::nvme::{completion, submission};
use zerocopy::FromZeros;

use super::admin::NAMESPACE_ID;
use super::backing::BLOCK_BYTES;
use super::engine::Disk;
use super::events::REQUESTS_MAX;
use super::registers::VERSION;

/// Identify controller.
pub(crate) fn controller(disk: &Disk) -> IdentifyController {
    let same_size = |log2: u8| log2 | log2 << 4;
    IdentifyController {
        vid: super::VENDOR_ID,
        ssvid: super::VENDOR_ID,
        sn: padded(&disk.serial),
        mn: padded("NVMe disk over a file"),
        fr: padded(env!("CARGO_PKG_VERSION")),
        mdts: disk.max_transfer_pages_log2,
        ver: VERSION.into_bits(),
        aerl: (REQUESTS_MAX - 1) as u8,
        sqes: same_size(submission::ENTRY_SIZE_LOG2),
        cqes: same_size(completion::ENTRY_SIZE_LOG2),
        nn: NAMESPACE_ID,
        // The host's page cache is one.
        vwc: 1,
        ..IdentifyController::new_zeroed()
    }
}

/// Identify namespace: `blocks` blocks, no metadata.
pub(crate) fn namespace(blocks: u64) -> IdentifyNamespace {
    let mut data = IdentifyNamespace::new_zeroed();
    data.nsze = blocks;
    data.ncap = blocks;
    data.nuse = blocks;
    data.lbaf[0] = LbaFormat::new()
        .with_lbads(BLOCK_BYTES.ilog2() as u8)
        .into_bits();
    data
}

/// The list of active namespaces above `after`.
pub(crate) fn active_namespaces(after: u32) -> [u32; DATA_BYTES / 4] {
    let mut list = [0; DATA_BYTES / 4];
    if after < NAMESPACE_ID {
        list[0] = NAMESPACE_ID;
    }
    list
}

/// `text` as ASCII, cut or padded with spaces.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (byte, char) in field.iter_mut().zip(text.chars()) {
        *byte = if char.is_ascii_graphic() {
            char as u8
        } else {
            b' '
        };
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fields_are_ascii_padded_with_spaces() {
        assert_eq!(padded::<6>("ab"), *b"ab    ");
        assert_eq!(padded::<3>("abcdef"), *b"abc");
        assert_eq!(padded::<4>("a\u{e9}\n"), *b"a   ");
    }

    #[test]
    fn the_namespace_list_starts_above_the_id_given() {
        assert_eq!(active_namespaces(0)[..2], [NAMESPACE_ID, 0]);
        assert_eq!(active_namespaces(NAMESPACE_ID)[0], 0);
    }
}
