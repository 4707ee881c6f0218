//! A function's configuration space: bytes, and which of their bits software can change.

use board::hardware::Width;
use hw::pci::capability::{EXTENDED_BASE, ExtendedHeader, Header};
use hw::pci::config::{CAPABILITIES_POINTER, CONVENTIONAL_BYTES, HEADER_BYTES, STATUS, Status};

/// Bytes of a PCI Express function's configuration space.
const EXPRESS_BYTES: usize = 4096;

/// Configuration registers. Bits are read-only until [`allow`](Self::allow)ed.
#[derive(Clone, Debug)]
pub(crate) struct ConfigSpace {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    /// Bits that a written 1 clears.
    clearable: Vec<u8>,
    /// Where the last capability's "next" byte is, and where the next capability can go.
    last_link: u16,
    free: u16,
    /// Where the last extended capability begins, and where the next can.
    last_extended: Option<u16>,
    free_extended: u16,
}

impl ConfigSpace {
    /// 256 bytes of zeros.
    pub(crate) fn conventional() -> Self {
        Self::of(CONVENTIONAL_BYTES.into())
    }

    /// 4096 bytes of zeros.
    pub(crate) fn express() -> Self {
        Self::of(EXPRESS_BYTES)
    }

    fn of(len: usize) -> Self {
        Self {
            bytes: vec![0; len],
            writable: vec![0; len],
            clearable: vec![0; len],
            last_link: CAPABILITIES_POINTER,
            free: HEADER_BYTES,
            last_extended: None,
            free_extended: EXTENDED_BASE,
        }
    }

    /// Sets the reset value of the bytes from `offset` on.
    pub(crate) fn set(&mut self, offset: u16, value: &[u8]) {
        let start = usize::from(offset);
        self.bytes[start..start + value.len()].copy_from_slice(value);
    }

    /// Lets software change the bits of `mask` from `offset` on.
    pub(crate) fn allow(&mut self, offset: u16, mask: &[u8]) {
        let start = usize::from(offset);
        self.writable[start..start + mask.len()].copy_from_slice(mask);
    }

    /// Lets software clear the bits of `mask` from `offset` on by writing 1.
    pub(crate) fn allow_clear(&mut self, offset: u16, mask: &[u8]) {
        let start = usize::from(offset);
        self.clearable[start..start + mask.len()].copy_from_slice(mask);
    }

    /// Appends a capability whose bytes behind the two of its header are `body`; returns its offset.
    pub(crate) fn add_capability(&mut self, id: u8, body: &[u8]) -> u16 {
        let offset = self.free;
        self.set(offset, &Header::new().with_id(id).into_bits().to_le_bytes());
        self.set(offset + 2, body);
        self.set(self.last_link, &[offset as u8]);
        self.last_link = offset + 1;
        self.free = (offset + 2 + body.len() as u16).next_multiple_of(4);
        let status = Status::from_bits(self.word(STATUS)).with_capabilities_list(true);
        self.set(STATUS, &status.into_bits().to_le_bytes());
        offset
    }

    /// Appends an extended capability, version 1, whose bytes behind the four of its header are `body`; returns its offset.
    pub(crate) fn add_extended_capability(&mut self, id: u16, body: &[u8]) -> u16 {
        let offset = self.free_extended;
        let header = ExtendedHeader::new().with_id(id).with_version(1);
        self.set(offset, &header.into_bits().to_le_bytes());
        self.set(offset + 4, body);
        if let Some(last) = self.last_extended {
            let before = ExtendedHeader::from_bits(self.dword(last)).with_next(offset);
            self.set(last, &before.into_bits().to_le_bytes());
        }
        self.last_extended = Some(offset);
        self.free_extended = (offset + 4 + body.len() as u16).next_multiple_of(4);
        offset
    }

    /// The 16 bits at `offset`.
    pub(crate) fn word(&self, offset: u16) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    /// The 32 bits at `offset`.
    pub(crate) fn dword(&self, offset: u16) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn array<const N: usize>(&self, offset: u16) -> [u8; N] {
        self.bytes[usize::from(offset)..]
            .first_chunk()
            .copied()
            .unwrap_or([0xff; N])
    }

    /// A read of software: all ones for what a configuration request cannot be, or past the end.
    pub(crate) fn read(&self, offset: u16, width: Width) -> u64 {
        match self.span(offset, width) {
            Some(span) => {
                let mut word = [0; 8];
                word[..span.len()].copy_from_slice(&self.bytes[span]);
                u64::from_le_bytes(word)
            }
            None => width.ones(),
        }
    }

    /// A write of software: lost for what a configuration request cannot be, or past the end.
    pub(crate) fn write(&mut self, offset: u16, width: Width, value: u64) {
        let Some(span) = self.span(offset, width) else {
            return;
        };
        for (index, new) in span.zip(value.to_le_bytes()) {
            let writable = self.writable[index];
            let kept = self.bytes[index] & !writable & !(new & self.clearable[index]);
            self.bytes[index] = kept | (new & writable);
        }
    }

    /// A configuration request moves 1, 2 or 4 bytes of one aligned dword.
    fn span(&self, offset: u16, width: Width) -> Option<std::ops::Range<usize>> {
        let start = usize::from(offset);
        let len = width.bytes() as usize;
        let fits = len <= 4 && start.is_multiple_of(len) && start + len <= self.bytes.len();
        fits.then_some(start..start + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_bits_change_and_clearable_bits_clear() {
        let mut config = ConfigSpace::conventional();
        config.set(0x40, &[0xa5, 0xff]);
        config.allow(0x40, &[0x0f]);
        config.allow_clear(0x41, &[0x81]);
        config.write(0x40, Width::Word, 0x01_3c);
        assert_eq!(config.read(0x40, Width::Word), 0xfe_ac);
    }

    #[test]
    fn requests_no_bus_carries_read_ones() {
        let config = ConfigSpace::conventional();
        assert_eq!(config.read(0x02, Width::Dword), 0xffff_ffff);
        assert_eq!(config.read(0x00, Width::Qword), u64::MAX);
        assert_eq!(
            config.read(0x100, Width::Dword),
            0xffff_ffff,
            "no extended space"
        );
    }

    #[test]
    fn extended_capabilities_form_a_list_of_their_own() {
        let mut config = ConfigSpace::express();
        let first = config.add_extended_capability(0x0d, &[0; 4]);
        let second = config.add_extended_capability(0x0f, &[0xab; 4]);
        assert_eq!((first, second), (0x100, 0x108));
        assert_eq!(config.read(0x100, Width::Dword), 0x1081_000d);
        assert_eq!(config.read(0x108, Width::Dword), 0x0001_000f);
        assert_eq!(config.read(0x10c, Width::Dword), 0xabab_abab);
    }

    #[test]
    fn capabilities_form_a_list() {
        let mut config = ConfigSpace::express();
        let first = config.add_capability(0x10, &[0; 58]);
        let second = config.add_capability(0x11, &[0; 10]);
        assert_eq!(config.read(0x34, Width::Byte), u64::from(first));
        assert_eq!(config.read(first + 1, Width::Byte), u64::from(second));
        assert_eq!(config.read(second + 1, Width::Byte), 0);
        assert_eq!(config.read(0x06, Width::Word) & 0x10, 0x10);
    }
}
