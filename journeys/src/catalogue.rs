//! The journeys that need nothing but a computer, by name: what a gate runs on every board.

use alloc::boxed::Box;
use core::error::Error;

use dmamap::platform::Platform;
use drivers::virtio::Slot;

use crate::atomic_pool::{self, atomic_pool};
use crate::attach_again::{self, attach_again};
use crate::buffer_pool::{self, buffer_pool};
use crate::computer::Computer;
use crate::dma_pool::{self, dma_pool};
use crate::iova_span::{self, iova_span};
use crate::large_page::{self, large_page};
use crate::mask_limits::{self, mask_limits};
use crate::needs::Needs;
use crate::noncoherent::{self, noncoherent};
use crate::noncontiguous::{self, noncontiguous};
use crate::peer_registers::{self, peer_registers};
use crate::read_only_mapping::{self, read_only_mapping};
use crate::relax_to_deferred::{self, relax_to_deferred};
use crate::reserved_memory::{self, reserved_memory};
use crate::reset_device::{self, reset_device};
use crate::sg_table::{self, sg_table};
use crate::surprise_removal::{self, remove_removable};
use crate::suspend_resume::{self, suspend_resume};
use crate::two_domains::{self, two_domains};
use crate::unit_reset::{self, unit_reset};
use crate::unmanaged_domain::{self, unmanaged_domain};
use crate::unmap_blocks_device::{self, unmap_blocks_device};
use crate::{virtio_console, virtio_disk_rewritten, virtio_gpu, virtio_net, virtio_rng};

/// Why a journey failed.
pub type JourneyError = Box<dyn Error + Send + Sync>;

/// A journey of the catalogue.
pub struct Journey<P: Platform> {
    /// Its name, as its module is called.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What it needs of a computer.
    pub needs: Needs,
    run: fn(&mut Computer<P>) -> Result<(), JourneyError>,
}

impl<P: Platform> Journey<P> {
    /// Makes the journey.
    ///
    /// # Errors
    /// What went wrong; [`Unmet`](crate::Unmet) where the computer lacks something.
    ///
    /// # Safety
    /// No other driver uses the computer's devices until this returns. Devices that are attached without an IOMMU keep to the
    /// memory that their driver tells them of.
    pub unsafe fn run(&self, computer: &mut Computer<P>) -> Result<(), JourneyError> {
        (self.run)(computer)
    }
}

/// Every journey but those that read or write a whole disk, whose content only the caller knows.
///
/// Those that need [`Needs::IOMMU`] need translation, and their `NEEDS` say what for where it is not plain: nothing else takes
/// memory away from a device that goes where it likes, refuses and reports it, or has tables to be kept.
pub fn journeys<P: Platform>() -> [Journey<P>; 21] {
    [
        Journey {
            name: "unmap_blocks_device",
            shows: "a device reaches memory while it is mapped, not a moment longer",
            needs: unmap_blocks_device::NEEDS,
            run: |computer| done(unmap_blocks_device(computer)),
        },
        Journey {
            name: "read_only_mapping",
            shows: "a device cannot write what it was lent to read",
            needs: read_only_mapping::NEEDS,
            run: |computer| done(read_only_mapping(computer)),
        },
        Journey {
            name: "two_domains",
            shows: "a device reaches nothing of what another was lent",
            needs: two_domains::NEEDS,
            run: |computer| done(two_domains(computer)),
        },
        Journey {
            name: "large_page",
            shows: "large pages are reached everywhere, a hole between them nowhere",
            needs: large_page::NEEDS,
            run: |computer| done(large_page(computer)),
        },
        Journey {
            name: "attach_again",
            shows: "a device attached again finds nothing of its first domain",
            needs: attach_again::NEEDS,
            run: |computer| done(attach_again(computer)),
        },
        Journey {
            name: "reserved_memory",
            shows: "reserved regions are kept, and nothing is mapped over them",
            needs: reserved_memory::NEEDS,
            run: |computer| done(reserved_memory(computer)),
        },
        Journey {
            name: "unit_reset",
            shows: "domains live on when their units are reset",
            needs: unit_reset::NEEDS,
            // SAFETY: `Journey::run`'s caller vouches that no other driver uses a device, and devices without a
            // driver are no bus masters, but those that firmware left at work in memory of their own.
            run: |computer| done(unsafe { unit_reset(computer) }),
        },
        Journey {
            name: "suspend_resume",
            shows: "domains live on through a sleep, in which nothing is promised",
            needs: suspend_resume::NEEDS,
            // SAFETY: as for `unit_reset`; devices without a driver obey their bus-master bit.
            run: |computer| done(unsafe { suspend_resume(computer) }),
        },
        Journey {
            name: "reset_device",
            shows: "a device that was reset forgets, its mappings and configuration stay",
            needs: reset_device::NEEDS,
            // SAFETY: `Journey::run`'s caller vouches for the disk; here and below for other devices.
            run: |computer| done(unsafe { reset_device(computer) }),
        },
        Journey {
            name: "mask_limits",
            shows: "28 address lines reach memory above 4 GiB",
            needs: mask_limits::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { mask_limits(computer) }),
        },
        Journey {
            name: "sg_table",
            shows: "a list of buffers is lent as one, and nothing beside them",
            needs: sg_table::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { sg_table(computer) }),
        },
        Journey {
            name: "iova_span",
            shows: "memory is linked to addresses that were chosen before",
            needs: iova_span::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { iova_span(computer) }),
        },
        Journey {
            name: "dma_pool",
            shows: "small coherent blocks serve both sides, until their pool goes",
            needs: dma_pool::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { dma_pool(computer) }),
        },
        Journey {
            name: "atomic_pool",
            shows: "coherent memory made ready is used without a mapping",
            needs: atomic_pool::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { atomic_pool(computer) }),
        },
        Journey {
            name: "buffer_pool",
            shows: "blocks that stay mapped are used again and again",
            needs: buffer_pool::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { buffer_pool(computer) }),
        },
        Journey {
            name: "noncoherent",
            shows: "cached memory is synced around each use",
            needs: noncoherent::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { noncoherent(computer) }),
        },
        Journey {
            name: "noncontiguous",
            shows: "scattered frames are one piece for the device",
            needs: noncontiguous::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { noncontiguous(computer) }),
        },
        Journey {
            name: "peer_registers",
            shows: "a device writes another's registers while they are lent",
            needs: peer_registers::NEEDS,
            run: |computer| done(peer_registers(computer)),
        },
        Journey {
            name: "unmanaged_domain",
            shows: "memory is where the caller chose, until it is unmapped",
            needs: unmanaged_domain::NEEDS,
            run: |computer| done(unmanaged_domain(computer)),
        },
        Journey {
            name: "relax_to_deferred",
            shows: "a strict device is relaxed at work, and flushed",
            needs: relax_to_deferred::NEEDS,
            run: |computer| done(relax_to_deferred(computer)),
        },
        Journey {
            name: "surprise_removal",
            shows: "a disk that is pulled out holds nobody up",
            needs: surprise_removal::NEEDS_REMOVABLE,
            // SAFETY: as above.
            run: |computer| done(unsafe { remove_removable(computer) }),
        },
    ]
}

/// The journeys of virtio devices, each of which stands in the place of `S` while it is driven.
///
/// [`Journey::run`]'s caller vouches, on a computer without an IOMMU, that they keep to the memory they are told of.
pub fn virtio_journeys<S: Slot>() -> [Journey<S::Platform>; 5] {
    [
        Journey {
            name: "read_virtio_disk",
            shows: "a disk is read, written and read back by a driver unaware",
            needs: virtio_disk_rewritten::NEEDS,
            run: |computer| {
                // SAFETY: as `Journey::run`'s caller vouches; here and below.
                done(unsafe { virtio_disk_rewritten::virtio_disk_rewritten::<S>(computer) })
            },
        },
        Journey {
            name: "virtio_net",
            shows: "frames are sent and received as they were",
            needs: virtio_net::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { virtio_net::virtio_net::<S>(computer) }),
        },
        Journey {
            name: "virtio_console",
            shows: "a text is sent and received as it was",
            needs: virtio_console::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { virtio_console::virtio_console::<S>(computer) }),
        },
        Journey {
            name: "virtio_rng",
            shows: "buffers of any alignment are filled, and nothing beside them",
            needs: virtio_rng::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { virtio_rng::virtio_rng::<S>(computer) }),
        },
        Journey {
            name: "virtio_gpu",
            shows: "pictures are shown",
            needs: virtio_gpu::NEEDS,
            // SAFETY: as above.
            run: |computer| done(unsafe { virtio_gpu::virtio_gpu::<S>(computer, |_, _| ()) }),
        },
    ]
}

fn done<T, E: Error + Send + Sync + 'static>(outcome: Result<T, E>) -> Result<(), JourneyError> {
    outcome.map(drop).map_err(Into::into)
}
