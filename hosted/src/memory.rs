//! The direct map: RAM at one run of virtual addresses, and the way back from there (X → Y).

use std::ops::Range;
use std::ptr::NonNull;

use board::hardware::Hardware;
use board::ram::{RamError, RamMapping};
use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use firmware::Unreadable;

pub(crate) struct Memory {
    direct_map: RamMapping,
    regions: Vec<Range<u64>>,
    /// RAM without what firmware keeps for itself: what may be lent, and given to devices.
    usable: Vec<Range<u64>>,
}

impl Memory {
    pub(crate) fn map(hardware: &dyn Hardware) -> Result<Self, RamError> {
        let ram = hardware.ram();
        let regions = ram.regions().to_vec();
        let usable = without(&regions, &hardware.reserved_ram());
        Ok(Self {
            direct_map: ram.map_kernel()?,
            regions,
            usable,
        })
    }

    /// All RAM, ascending.
    pub(crate) fn regions(&self) -> impl Iterator<Item = PhysRange> + '_ {
        self.regions.iter().filter_map(|region| {
            PhysRange::new(PhysAddr::new(region.start), region.end - region.start).ok()
        })
    }

    /// The RAM that is the kernel's, ascending.
    pub(crate) fn usable(&self) -> &[Range<u64>] {
        &self.usable
    }

    /// One past the highest physical address of RAM.
    pub(crate) fn end(&self) -> u64 {
        self.direct_map.len_bytes()
    }

    /// Whether any byte of `range` is RAM.
    pub(crate) fn overlaps_ram(&self, range: PhysRange) -> bool {
        self.regions().any(|region| region.overlaps(range))
    }

    /// Where `phys` is in the direct map, if it is not past the end of RAM.
    pub(crate) fn pointer(&self, phys: PhysAddr) -> Option<NonNull<u8>> {
        self.direct_map.pointer(phys.as_u64())
    }

    /// Where `virt` leads through the direct map, if to RAM that is the kernel's.
    pub(crate) fn phys_of(&self, virt: VirtAddr) -> Option<PhysAddr> {
        let base = self.direct_map.base().addr().get() as u64;
        let phys = virt.as_u64().checked_sub(base)?;
        let lendable = self.usable.iter().any(|range| range.contains(&phys));
        lendable.then(|| PhysAddr::new(phys))
    }

    /// All RAM without `holes`, ascending.
    pub(crate) fn regions_without(&self, holes: &[Range<u64>]) -> Vec<Range<u64>> {
        without(&self.regions, holes)
    }

    /// Whether `virt` is in the direct map, whoever the memory is.
    pub(crate) fn is_direct(&self, virt: VirtAddr) -> bool {
        let base = self.direct_map.base().addr().get() as u64;
        let offset = virt.as_u64().checked_sub(base);
        offset.is_some_and(|offset| offset < self.direct_map.len_bytes())
    }

    /// Copies RAM that firmware keeps for itself into `into`.
    pub(crate) fn read(&self, phys: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let unreadable = Unreadable { phys };
        let end = phys.checked_add(into.len() as u64).ok_or(unreadable)?;
        let mut regions = self.regions.iter();
        let is_ram = regions.any(|region| region.start <= phys && end <= region.end);
        let mut usable = self.usable.iter();
        let is_kernels = usable.any(|range| range.start < end && phys < range.end);
        if !is_ram || is_kernels {
            return Err(unreadable);
        }
        let pointer = self.direct_map.pointer(phys).ok_or(unreadable)?;
        // SAFETY: the region's check puts all bytes inside the direct map, and they are of no memory that is ever lent, so no
        // reference covers them, `into` neither. A device may write them meanwhile: then any mix of old and new bytes is a
        // right answer.
        unsafe { pointer.copy_to_nonoverlapping(NonNull::from(&mut *into).cast(), into.len()) };
        Ok(())
    }
}

/// What is left of ascending, disjoint `regions` without `holes`, which come in any order.
fn without(regions: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut holes = holes.to_vec();
    holes.sort_by_key(|hole| hole.start);
    let mut left = Vec::new();
    for region in regions {
        let mut start = region.start;
        for hole in holes
            .iter()
            .filter(|hole| hole.end > region.start && hole.start < region.end)
        {
            if hole.start > start {
                left.push(start..hole.start);
            }
            start = start.max(hole.end);
        }
        if start < region.end {
            left.push(start..region.end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn reserved_ranges_are_cut_out_wherever_they_lie() {
        let regions = [0x1000..0x5000, 0x8000..0x9000];
        let mut table = vec![
            (vec![], vec![0x1000..0x5000, 0x8000..0x9000]),
            (
                vec![0x2000..0x3000],
                vec![0x1000..0x2000, 0x3000..0x5000, 0x8000..0x9000],
            ),
            (vec![0x0..0x1800], vec![0x1800..0x5000, 0x8000..0x9000]),
            (vec![0x4000..0x8800], vec![0x1000..0x4000, 0x8800..0x9000]),
            (vec![0x0..0xf000], vec![]),
            (
                vec![0x3000..0x4000, 0x1000..0x3800],
                vec![0x4000..0x5000, 0x8000..0x9000],
            ),
            (vec![0x5000..0x8000], vec![0x1000..0x5000, 0x8000..0x9000]),
        ];
        for (holes, expected) in table.drain(..) {
            assert_eq!(without(&regions, &holes), expected, "without {holes:x?}");
        }
    }
}
