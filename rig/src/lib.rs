//! What tests boot, and how they look at it: computers of models with a kernel on them, and a platform of nothing but memory.
//!
//! | for | there is |
//! |---|---|
//! | a computer, booted for one test and checked at its end | [`Rig`], with [`small`], [`vtd`], [`amd`] … to say which |
//! | units of each kind, alike to those who map | [`kinds`], [`modes`], [`riscv`], [`virtio`] |
//! | disks of bytes that a test knows | [`disks`] |
//! | devices of their own sort | [`life`], [`wide`] |
//! | what the CPU does, seen at that moment | [`observed`], [`idle`] |
//! | units that are slow, hang or refuse, or are not told | [`waiting`], [`storm`], [`astray`], [`stale`] |
//! | tables and addresses without a computer | [`Arena`], [`SpinLock`] |
//! | numbers and time | [`Random`], [`patience`] |
//!
//! It is a crate, not files that each test program includes, for what it costs to compile: the layer is generic over its
//! platform, so that a program compiles what it uses of it, unless a crate that it links did already, for the same
//! platform. This one did, for the kernel in a process, once and optimised a little.
//!
//! ```
//! use dmamap::map::Bidirectional;
//! use rig::{EDU, PAGE, Rig, buffer_of, small, vtd};
//!
//! let rig = Rig::boot(small().with_iommu(vtd(Default::default())));
//! let device = rig.attach(EDU);
//! let buffer = buffer_of(rig.kernel, 3 * PAGE, 7);
//! let mapping = device.map_single(buffer, Bidirectional)?;
//! assert_eq!(mapping.unmap()?.as_slice()[0], 7);
//! device.detach()?;
//! // Whatever was not given back, and whatever a model noticed, ends the test here.
//! rig.finish();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod computer;
mod lock;
mod random;

pub mod astray;
pub mod disks;
pub mod idle;
pub mod kinds;
pub mod life;
pub mod modes;
pub mod observed;
pub mod patience;
pub mod riscv;
pub mod stale;
pub mod storm;
pub mod virtio;
pub mod waiting;
pub mod wide;

pub use arena::{Arena, LINE_BYTES, Line, Memory, POISON_WORD};
pub use computer::{
    AMD_UNIT, EDU, FIRST_BLOCK_FRAMES, FIRST_LANE_FRAMES, FIRST_LARGE_BLOCK_FRAMES, HEARTBEAT,
    MORE_THAN_IS_KEPT, PAGE, Rig, UNITS, amd, assert_first_fault, boot_kernel, buffer_of,
    first_fault, impatient, restart_under_load, share_a_page, shut_down, small, try_read,
    try_write, vtd,
};
pub use lock::{SpinLock, locks_held};
pub use random::Random;
