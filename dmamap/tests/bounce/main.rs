//! Memory that devices do not reach, or must not, is copied: what they see, what comes back, and what never leaks.
//!
//! | what is shown | file |
//! |---|---|
//! | every class of offset, length, direction and alignment | `classes` |
//! | the direct route: who is given a copy, and of what | `direct_route` |
//! | devices that nobody vouched for, and memory that shares pages | `neighbours` |
//! | devices that do not snoop | `not_snooped` |
//! | pools that are always mapped | `always_mapped` |
//! | what is copied to such as it is short | `short` |
//! | slots: areas, growth, transient and restricted pools, exhaustion | `pools` |
//! | slots that CPUs keep ready: exhaustion, reclaim, whoever gives them back | `kept` |
//! | lists, copied as a whole | `lists` |
//! | links to addresses chosen before, but for whole pages copied | `spans` |
//! | links that are taken back late, or not all | `unlinks` |
//! | raw mappings when their device goes | `departures` |
//! | no two mappings share a slot, whatever is asked for | `overlaps` |

mod always_mapped;
mod classes;
mod departures;
mod direct_route;
mod kept;
mod lists;
mod neighbours;
mod not_snooped;
mod overlaps;
mod pools;
mod short;
mod spans;
mod spy;
mod unlinks;

use dmamap::addr::PhysRange;
use dmamap::device::Device;
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::{Granule, Protection, Settings};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;
use machine::{Iommu, MachineConfig};
use rig::{EDU, Rig, small};

/// Memory on both sides of 4 GiB, lent from above, and no unit: a device with 28 address lines reaches little of it.
fn without_units() -> MachineConfig {
    small().with_iommu(Iommu::None)
}

fn attach_trusted(rig: &Rig) -> Device<Hosted> {
    rig.attach_trusted(EDU, Protection::Strict)
}

/// Frames of the kernel that this test writes and reads between calls, by address.
struct Ram {
    kernel: Hosted,
    frames: PhysRange,
}

impl Ram {
    fn allocate(kernel: Hosted, frames: usize) -> Self {
        let frames = kernel.allocate_frames(FrameRequest::new(frames)).unwrap();
        Self { kernel, frames }
    }

    /// Beginning where pages of 64 KiB do.
    fn aligned(kernel: Hosted, len_bytes: u64) -> Self {
        let request = FrameRequest {
            align_log2: 16,
            ..FrameRequest::new((len_bytes / rig::PAGE) as usize)
        };
        let frames = kernel.allocate_frames(request).unwrap();
        Self { kernel, frames }
    }

    fn part(&self, offset: u64, len_bytes: u64) -> PhysRange {
        self.frames.slice(offset, len_bytes).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        let start = self.kernel.frame_pointer(self.frames.start());
        let len = self.frames.len_bytes() as usize;
        // SAFETY: the frames are this value's, and no device is at work on them between calls.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }.to_vec()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let part = self.part(offset, bytes.len() as u64);
        let start = self.kernel.frame_pointer(part.start());
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: no mapping of them is left when a test drops them.
        unsafe { self.kernel.free_frames(self.frames) };
    }
}

/// Bytes that tell where they belong.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| ((n % 251) as u8).wrapping_mul(3).wrapping_add(seed) | 1)
        .collect()
}

/// A machine whose unit's pages are of this size.
fn pages_of(granule: Granule) -> Rig {
    let unit = Iommu::Smmu {
        unit: SmmuConfig::default(),
        walks: Snooping::On,
    };
    let units = Settings {
        granule: Some(granule),
        ..Settings::default()
    };
    let options = BootOptions {
        units,
        ..BootOptions::default()
    };
    Rig::boot_with(small().with_iommu(unit), options)
}
