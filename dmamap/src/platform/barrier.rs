//! The three barriers of [`Platform`](super::Platform), for ports to call.
//!
//! A port whose devices are on the bus of the CPU it is compiled for needs nothing else; one behind a stranger
//! interconnect may need more. They order accesses to ordinary (write-back) memory that devices snoop or that is mapped
//! uncached, and to registers. They are never weaker than Linux's `dma_wmb`, `dma_rmb` and `mb`, and stronger in one
//! respect: as this crate's [`Register::write`](crate::mmio::Register::write) and
//! [`Register::read`](crate::mmio::Register::read) are a barrier and a plain access, `dma_wmb` orders memory before a later
//! register write, and `dma_rmb` a register read before later memory.
//!
//! | | x86_64 | aarch64 | riscv64 | others |
//! |---|---|---|---|---|
//! | [`dma_wmb`] | the compiler's order | `dmb oshst` | `fence ow, ow` | sequentially consistent fence |
//! | [`dma_rmb`] | the compiler's order | `dmb oshld` | `fence ir, ir` | sequentially consistent fence |
//! | [`dma_mb`] | `mfence` | `dsb sy` | `fence iorw, iorw` | sequentially consistent fence |
//!
//! - x86_64 (Intel SDM volume 3, "Memory Ordering in P6 and More Recent Processor Families"; AMD64 APM volume 2, "Memory
//!   Access Ordering"): stores to write-back memory are seen in program order, loads are done in program order, and uncached
//!   accesses are ordered with both. What is left is a store that a later load overtakes, and stores to
//!   write-combining memory, which only a fence, a locked instruction or an uncached access drains: `mfence` orders both.
//! - aarch64 (Arm ARM, DDI 0487, "Data Memory Barrier", "Data Synchronization Barrier" and "Shareability and access
//!   limitations on the data barrier operations"): devices are observers of the outer shareable domain, so `osh`; `st` orders
//!   stores among each other, `ld` loads before all that follows. `dsb sy` completes what came before, also
//!   as observed outside of that domain.
//! - riscv64 (The RISC-V Instruction Set Manual, Volume I, "Memory Ordering Instructions", and Appendix A, "RVWMO
//!   Explanatory Material", on I/O ordering): memory (`r`, `w`) and device (`i`, `o`) accesses are named apart in a fence, so
//!   a fence for memory alone would let a doorbell overtake what it announces.
//!
//! ```
//! use dmamap::platform::barrier;
//!
//! // The body, then the order, then the flag that says it is there.
//! let mut descriptor = [0_u32; 4];
//! descriptor[..3].copy_from_slice(&[1, 2, 3]);
//! barrier::dma_wmb();
//! descriptor[3] = 1;
//! # assert_eq!(descriptor, [1, 2, 3, 1]);
//! ```

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
use core::arch::asm;

/// One barrier instruction, or none but the order the compiler keeps: without `nomem`, an assembly block is an access to all
/// memory, over which the compiler moves no other.
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
macro_rules! order {
    ($instruction:literal) => {
        // SAFETY: a barrier instruction changes neither memory nor registers, flags nor the stack.
        unsafe { asm!($instruction, options(nostack, preserves_flags)) }
    };
}

/// Earlier writes to memory are visible to a device before later writes to memory or registers (`dma_wmb`).
#[inline(always)]
pub fn dma_wmb() {
    #[cfg(target_arch = "x86_64")]
    order!("");
    #[cfg(target_arch = "aarch64")]
    order!("dmb oshst");
    #[cfg(target_arch = "riscv64")]
    order!("fence ow, ow");
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Earlier reads of memory that a device writes, or of registers, are done before later reads (`dma_rmb`).
#[inline(always)]
pub fn dma_rmb() {
    #[cfg(target_arch = "x86_64")]
    order!("");
    #[cfg(target_arch = "aarch64")]
    order!("dmb oshld");
    #[cfg(target_arch = "riscv64")]
    order!("fence ir, ir");
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Earlier accesses, to memory and registers, are done before later ones (`mb`); on x86_64 also those to write-combining
/// memory.
#[inline(always)]
pub fn dma_mb() {
    #[cfg(target_arch = "x86_64")]
    order!("mfence");
    #[cfg(target_arch = "aarch64")]
    order!("dsb sy");
    #[cfg(target_arch = "riscv64")]
    order!("fence iorw, iorw");
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
