//! One function: bytes, which of their bits keep what is written, and how it misbehaves.

use std::collections::HashMap;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;

pub struct FakeFunction {
    pub config: Vec<u8>,
    /// Bits that keep what is written.
    writable: Vec<u8>,
    /// Bridge above, device, function.
    pub(super) place: (Option<usize>, u8, u8),
    /// By BAR and offset.
    pub(super) registers: HashMap<(usize, u64), u32>,
    /// After this many configuration reads the function is gone.
    vanishes_after: Option<usize>,
    /// So many reads of the vendor id ask to be tried again.
    not_ready: usize,
    reads: usize,
}

impl FakeFunction {
    fn new(header_type: u8, class: u32) -> Self {
        let mut function = Self {
            config: vec![0; 4096],
            writable: vec![0; 4096],
            place: (None, 0, 0),
            registers: HashMap::new(),
            vanishes_after: None,
            not_ready: 0,
            reads: 0,
        };
        function.set(0x00, 4, 0x0010_1b36);
        function.set(0x08, 4, u64::from(class) << 8);
        function.set(0x0e, 1, u64::from(header_type));
        function.allow(COMMAND, 2, 0x0547);
        function.allow(0x3c, 1, 0xff);
        function
    }

    /// A type 0 function.
    pub fn device() -> Self {
        Self::new(0, 0x01_08_02).with_writable(0x30, 4, 0)
    }

    /// A root port with all windows.
    pub fn port() -> Self {
        Self::express_bridge(4)
    }

    /// A bridge with all windows, of a kind that PCI Express knows.
    pub fn express_bridge(port_type: u8) -> Self {
        Self::bare_bridge()
            .with_writable(0x1c, 2, 0xf0f0)
            .with_writable(0x24, 4, 0xfff0_fff0)
            .with_writable(0x28, 8, u64::MAX)
            .with(0x24, 4, 0x0001_0001)
            .with_express(port_type)
    }

    /// A bridge with a 32-bit memory window alone.
    pub fn bare_bridge() -> Self {
        Self::new(1, 0x06_04_00)
            .with_writable(0x18, 3, 0xff_ffff)
            .with_writable(0x20, 4, 0xfff0_fff0)
    }

    pub fn with(mut self, offset: usize, len: usize, value: u64) -> Self {
        self.set(offset, len, value);
        self
    }

    pub fn with_writable(mut self, offset: usize, len: usize, bits: u64) -> Self {
        self.allow(offset, len, bits);
        self
    }

    /// A BAR of one register: type bits, and which bits keep what is written.
    pub fn with_bar(self, index: usize, type_bits: u32, writable: u32) -> Self {
        self.with(0x10 + 4 * index, 4, u64::from(type_bits))
            .with_writable(0x10 + 4 * index, 4, u64::from(writable))
    }

    /// A 32-bit memory BAR.
    pub fn with_memory(self, index: usize, len_bytes: u32) -> Self {
        self.with_bar(index, 0x0, len_bytes.wrapping_neg())
    }

    /// A 64-bit memory BAR, prefetchable or not by its type bits 0xc or 0x4.
    pub fn with_memory64(self, index: usize, type_bits: u32, len_bytes: u64) -> Self {
        let writable = len_bytes.wrapping_neg();
        self.with_bar(index, type_bits, writable as u32 & !0xf)
            .with_bar(index + 1, 0, (writable >> 32) as u32)
    }

    /// An IO BAR.
    pub fn with_ports(self, index: usize, len_bytes: u32) -> Self {
        self.with_bar(index, 0x1, len_bytes.wrapping_neg() & 0xffff_fffc)
    }

    pub fn multi_function(self) -> Self {
        let header_type = self.config[0x0e];
        self.with(0x0e, 1, u64::from(header_type | 0x80))
    }

    /// Puts a capability's first bytes at `offset`, as the last of the list.
    pub fn with_capability(mut self, offset: usize, bytes: &[u8]) -> Self {
        let mut link = 0x34;
        while self.config[link] != 0 {
            link = usize::from(self.config[link]) + 1;
        }
        self.config[link] = offset as u8;
        self.config[STATUS] |= 0x10;
        self.config[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.config[offset + 1] = 0;
        self
    }

    pub fn with_express(self, port_type: u8) -> Self {
        self.with_capability(0xc0, &[0x10, 0, 0x02 | port_type << 4, 0])
    }

    /// Access control services, as the first extended capability: what it can do, and what of it is on.
    pub fn with_acs(self, capable: u16, on: u16) -> Self {
        self.with(0x100, 4, 0x0001_000d)
            .with(0x104, 2, u64::from(capable))
            .with(0x106, 2, u64::from(on))
            .with_writable(0x106, 2, u64::from(capable & 0x7f))
    }

    pub fn with_ids(self, vendor: u16, device: u16) -> Self {
        self.with(0x00, 2, u64::from(vendor))
            .with(0x02, 2, u64::from(device))
    }

    /// MSI-X with a table and pending bits in a BAR.
    pub fn with_msix(self, entries: u16, bar: u32, table: u32) -> Self {
        let size = (entries - 1).to_le_bytes();
        let place = (table | bar).to_le_bytes();
        let mut bytes = vec![0x11, 0, size[0], size[1]];
        bytes.extend(place);
        bytes.extend((0x800 | bar).to_le_bytes());
        self.with_capability(0xa0, &bytes)
            .with_writable(0xa2, 2, 0xc000)
    }

    pub fn vanishing_after(mut self, reads: usize) -> Self {
        self.vanishes_after = Some(reads);
        self
    }

    pub fn ready_after(mut self, reads: usize) -> Self {
        self.not_ready = reads;
        self
    }

    fn set(&mut self, offset: usize, len: usize, value: u64) {
        self.config[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn allow(&mut self, offset: usize, len: usize, bits: u64) {
        self.writable[offset..offset + len].copy_from_slice(&bits.to_le_bytes()[..len]);
    }

    pub(super) fn bus_numbers(&self) -> [u8; 3] {
        [self.config[0x18], self.config[0x19], self.config[0x1a]]
    }

    fn is_gone(&self) -> bool {
        self.vanishes_after.is_some_and(|reads| self.reads > reads)
    }

    pub(super) fn read(&mut self, register: usize, bytes: usize) -> u64 {
        self.reads += 1;
        if self.is_gone() {
            return u64::MAX;
        }
        if register == 0 && self.not_ready > 0 {
            self.not_ready -= 1;
            return 0x0001;
        }
        let value = &self.config[register..register + bytes];
        value
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    /// Whether a BAR was written that is being decoded.
    pub(super) fn write(&mut self, register: usize, bytes: usize, value: u64) -> bool {
        if self.is_gone() {
            return false;
        }
        for (index, byte) in value.to_le_bytes().into_iter().enumerate().take(bytes) {
            let writable = self.writable[register + index];
            let kept = &mut self.config[register + index];
            *kept = *kept & !writable | byte & writable;
        }
        let bars = if self.config[0x0e] & 0x7f == 0 {
            0x10..0x28
        } else {
            0x10..0x18
        };
        bars.contains(&register) && self.config[COMMAND] & 0x3 != 0
    }

    fn word(&self, offset: usize) -> u64 {
        let bytes = &self.config[offset..offset + 4];
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    /// The memory BAR that answers at `bus`, and the offset in it.
    pub(super) fn decode(&self, bus: u64) -> Option<(usize, u64)> {
        if self.is_gone() || self.config[COMMAND] & 0x2 == 0 {
            return None;
        }
        (0..6).find_map(|index| {
            let at = 0x10 + 4 * index;
            let writable = &self.writable[at..at + 8];
            let mask = u64::from_le_bytes(writable.try_into().unwrap());
            let (base, mask) = match self.word(at) & 0x7 {
                0x0 => (self.word(at) & !0xf, mask | u64::MAX << 32),
                0x4 => (self.word(at + 4) << 32 | self.word(at) & !0xf, mask),
                _ => return None,
            };
            let len_bytes = mask.wrapping_neg();
            let offset = bus.checked_sub(base)?;
            (mask as u32 != 0 && offset < len_bytes).then_some((index, offset))
        })
    }
}
