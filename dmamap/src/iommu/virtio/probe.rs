//! What PROBE tells of an endpoint (VIRTIO 5.13.6.7): which addresses it cannot have memory mapped at.

use alloc::vec::Vec;

use hw::virtio::iommu::probe::{PropertyHeader, PropertyType, ReservedMemory};

use crate::addr::{BusAddr, BusRange};

/// The reserved regions in a list of properties. A list that is cut short ends there; regions that cannot be are left
/// out.
pub(super) fn reserved(words: &mut dyn Iterator<Item = u32>) -> Vec<BusRange> {
    let mut regions = Vec::new();
    while let Some(first) = words.next() {
        let header = PropertyHeader::from_bits(first);
        let kind = PropertyType::from_code(header.kind());
        if kind == Some(PropertyType::None) {
            break;
        }
        let mut content = words.take(usize::from(header.length()).div_ceil(4));
        if kind == Some(PropertyType::ReservedMemory) && header.length() >= ReservedMemory::LENGTH {
            let mut property = [first, 0, 0, 0, 0, 0];
            let mut read = 1;
            for (slot, word) in property[1..].iter_mut().zip(&mut content) {
                *slot = word;
                read += 1;
            }
            if read < property.len() {
                break;
            }
            // Whatever the subtype, and be it unknown: nothing may be mapped there (5.13.6.8.1.1).
            let region = ReservedMemory::from_words(property);
            let len_bytes = region
                .end
                .checked_sub(region.start)
                .and_then(|less_one| less_one.checked_add(1));
            let start = BusAddr::new(region.start);
            regions.extend(len_bytes.and_then(|len_bytes| BusRange::new(start, len_bytes).ok()));
        }
        content.for_each(drop);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[u32], expected: &[(u64, u64)]) {
        let found: Vec<(u64, u64)> = reserved(&mut words.iter().copied())
            .into_iter()
            .map(|range| (range.start().as_u64(), range.len_bytes()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn regions_of_every_subtype_are_found() {
        let words = [
            0x0014_0001,
            1,
            0xfee0_0000,
            0,
            0xfeef_ffff,
            0, // messages
            0x0014_0001,
            0,
            0x1000,
            1,
            0x1fff,
            1, // reserved
            0x0014_0001,
            0xff,
            0,
            0,
            0xfff,
            0, // unknown
            0,
            0,
        ];
        let expected = [
            (0xfee0_0000, 0x10_0000),
            (0x1_0000_1000, 0x1000),
            (0, 0x1000),
        ];
        check(&words, &expected);
    }

    #[test]
    fn unknown_properties_are_skipped() {
        let words = [
            0x0008_0fff,
            1,
            2,           // eight bytes of nobody knows what
            0x0000_0002, // nothing of nobody knows what
            0x0018_0001,
            0,
            0x1000,
            0,
            0x1fff,
            0,
            7, // a longer kind of the same
            0x0014_f001,
            0,
            0x3000,
            0,
            0x3fff,
            0, // upper bits of the type do not count
        ];
        check(&words, &[(0x1000, 0x1000), (0x3000, 0x1000)]);
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        check(&[], &[]);
        check(&[0x0014_0001, 0, 0x1000], &[]);
        check(
            &[0x0004_0001, 0, 0x0014_0001, 0, 0x1000, 0, 0x1fff, 0],
            &[(0x1000, 0x1000)],
        );
        // It ends before it begins.
        check(&[0x0014_0001, 0, 0x2000, 0, 0x1fff, 0], &[]);
        check(&[0x0014_0001, 0, 0, 0, u32::MAX, u32::MAX], &[]);
        check(&[0xffff_0001; 4], &[]);
    }
}
