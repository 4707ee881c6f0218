//! Requests that another device answers, and not memory.

use std::sync::Arc;

use board::hardware::{Width, WindowKind};

use super::{Bus, Requester};
use crate::fabric::PeerForwarding;
use crate::pci::Space;
use crate::pci::endpoint::Hit;
use crate::pci::segment::Segment;

impl Bus {
    /// All functions are wired: from now on devices may meet.
    pub(crate) fn connect(&self, root: &Arc<Segment>) {
        if self.root.set(Arc::downgrade(root)).is_err() {
            log::error!("a bus was connected twice");
        }
    }

    /// The device that takes a request of `requester` before it is at the host bridge.
    pub(super) fn on_the_way(
        &self,
        requester: &Arc<Requester>,
        bus: u64,
        len_bytes: u64,
    ) -> Option<Hit> {
        self.functions()?.peer_of(requester, bus, len_bytes)
    }

    /// The device that the host bridge sends a request to bus address `bus` down to.
    pub(super) fn forwarded(&self, bus: u64, len_bytes: u64) -> Option<Hit> {
        if self.peers == PeerForwarding::Refused {
            return None;
        }
        self.functions()?.find_bar(Space::Memory, bus, len_bytes)
    }

    /// As [`forwarded`](Self::forwarded), for the physical address that a unit made of a bus address.
    pub(super) fn forwarded_from_phys(&self, phys: u64, len_bytes: u64) -> Option<Hit> {
        let mut windows = self.windows.iter();
        let window = windows.find(|window| {
            let end = window.phys + window.len_bytes;
            window.kind != WindowKind::Io && (window.phys..end).contains(&phys)
        })?;
        self.forwarded(window.bus + (phys - window.phys), len_bytes)
    }

    fn functions(&self) -> Option<Arc<Segment>> {
        self.root.get()?.upgrade()
    }
}

impl Hit {
    /// Fills `into` from the registers hit.
    pub(super) fn read_all(&self, into: &mut [u8]) {
        let mut offset = self.offset;
        let mut rest = into;
        while !rest.is_empty() {
            let width = width_at(offset, rest.len());
            let (part, after) = rest.split_at_mut(width.bytes() as usize);
            let value = self.endpoint.read(self.bar, offset, width);
            part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
            offset += width.bytes();
            rest = after;
        }
    }

    /// Writes `from` to the registers hit.
    pub(super) fn write_all(&self, from: &[u8]) {
        let mut offset = self.offset;
        let mut rest = from;
        while !rest.is_empty() {
            let width = width_at(offset, rest.len());
            let (part, after) = rest.split_at(width.bytes() as usize);
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            let value = u64::from_le_bytes(word);
            self.endpoint.write(self.bar, offset, width, value);
            offset += width.bytes();
            rest = after;
        }
    }
}

/// The widest access that is aligned at `offset` and not longer than `len`.
fn width_at(offset: u64, len: usize) -> Width {
    let widths = [Width::Qword, Width::Dword, Width::Word];
    let fits = |width: &Width| offset.is_multiple_of(width.bytes()) && width.bytes() <= len as u64;
    widths.into_iter().find(fits).unwrap_or(Width::Byte)
}
