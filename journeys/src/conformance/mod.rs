//! Whether a port keeps the promises of [`Platform`]: what the mapping layer rests on, checked from the inside.
//!
//! A port runs [`conformance`] once on its own machine before it makes the journeys of the
//! [`catalogue`](crate::catalogue): a promise that is broken here shows there as data that is wrong now and then. What no
//! program can see by itself (whether a barrier orders, whether a device sees what a cache holds) the journeys show.
//!
//! | part | promises |
//! |---|---|
//! | `memory` | frames: within the request, lent once, whole; X → Y; frames side by side |
//! | `caches` | maintenance loses nothing that the CPU wrote; a mapping past the caches is of the same memory |
//! | `registers` | two windows onto one register are onto one register |
//! | `time` | the clock, waiting, deadlines |
//! | `cpus` | `pin`, also inside itself, and the lock, on all CPUs at once |
//! | `fences` | a CPU that another one has fence, where the port says that it can |
//! | `interrupts` | each has a message of its own; waiting for one ends; a handler runs, and not after its interrupt is taken back |
//!
//! ```
//! use dmamap::platform::Platform;
//! use hosted::Hosted;
//! use journeys::conformance::{Means, conformance};
//!
//! let machine = machine::Machine::boot(machine::MachineConfig::default().with_ram(64 << 20))?;
//! let kernel = Hosted::boot(machine.clone())?;
//! // How to run a closure on every CPU at once is the port's to say; a kernel sends inter-processor interrupts.
//! let cpus = kernel.cpu_count();
//! let on_each_cpu = |work: &(dyn Fn() + Sync)| {
//!     std::thread::scope(|threads| {
//!         for _ in 0..cpus {
//!             threads.spawn(work);
//!         }
//!     });
//! };
//! let report = conformance(kernel, &Means::new(cpus, &on_each_cpu))?;
//! assert_eq!(report.cpus, cpus);
//! machine.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod caches;
mod cpus;
mod fences;
mod interrupts;
mod memory;
mod registers;
mod time;

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::mmio::MmioError;
use dmamap::platform::{FrameRequest, Interrupt, Platform, VirtualMapError};

pub use interrupts::Raise;
pub use registers::ScratchRegister;

/// Runs a closure once on every CPU that is up, on all at once, and returns when it has returned on each.
pub type OnEachCpu<'a> = &'a dyn Fn(&(dyn Fn() + Sync));

/// What the suite cannot do by itself on every machine, and the port can.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    online_cpus: usize,
    on_each_cpu: OnEachCpu<'a>,
    register: Option<ScratchRegister>,
    raise: Option<Raise<'a>>,
}

impl<'a> Means<'a> {
    /// `online_cpus` are up: as many as [`Platform::cpu_count`] says, unless some of those come only later. Each is to be
    /// seen, so `on_each_cpu` must reach each. They wait for each other, pinned.
    pub fn new(online_cpus: usize, on_each_cpu: OnEachCpu<'a>) -> Self {
        Self {
            online_cpus,
            on_each_cpu,
            register: None,
            raise: None,
        }
    }

    /// A register to try windows with. Without one `ioremap` is not looked at.
    #[must_use]
    pub fn with_register(mut self, register: ScratchRegister) -> Self {
        self.register = Some(register);
        self
    }

    /// How an interrupt is raised without a device: an interrupt controller lets software do that. Without it no handler
    /// runs.
    #[must_use]
    pub fn with_raise(mut self, raise: Raise<'a>) -> Self {
        self.raise = Some(raise);
        self
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Frames that were lent, written and given back.
    pub frames: usize,
    /// CPUs that were pinned at the same time.
    pub cpus: usize,
    /// Times a CPU was pinned.
    pub pins: usize,
    /// Times a CPU had another one fence.
    pub fences: usize,
    /// Values that were written through one window onto a register and read through another.
    pub register_values: usize,
    /// Interrupts that were raised.
    pub interrupts: usize,
}

/// A promise of [`Platform`] that the port does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The suite itself could not get what it works with.
    #[error("the port lends too little to be checked: {what}")]
    TooLittle {
        /// What is missing.
        what: &'static str,
    },
    /// Ranges of RAM are empty, or do not ascend.
    #[error("memory_map: {range} is empty or does not follow the range before it")]
    MemoryMap {
        /// The range.
        range: PhysRange,
    },
    /// Frames are not what was asked for.
    #[error("allocate_frames: {frames} is not what {request:?} asks for")]
    NotAsRequested {
        /// What was asked for.
        request: FrameRequest,
        /// What was lent.
        frames: PhysRange,
    },
    /// Frames are not RAM.
    #[error("allocate_frames: {frames} is not in the memory map")]
    NotRam {
        /// What was lent.
        frames: PhysRange,
    },
    /// One frame was lent twice.
    #[error("allocate_frames: {frames} overlaps {other}, which is lent")]
    LentTwice {
        /// What was lent last.
        frames: PhysRange,
        /// What was lent before.
        other: PhysRange,
    },
    /// Frames given back are lost.
    #[error(
        "free_frames: after {rounds} rounds of taking and giving back there is nothing left to lend"
    )]
    FramesLost {
        /// Rounds that went well.
        rounds: usize,
    },
    /// Two addresses lead to the same byte, or one to none.
    #[error("frame_pointer: what was written to {phys} is not read there")]
    NotMemory {
        /// Where.
        phys: PhysAddr,
    },
    /// X → Y is not the way back from Y → X.
    #[error("virt_to_phys: {virt} is said to be {found:?}, and is {expected:?}")]
    WrongPhys {
        /// X.
        virt: VirtAddr,
        /// Y, as it must be.
        expected: Option<PhysAddr>,
        /// Y, as the port has it.
        found: Option<PhysAddr>,
    },
    /// Lent frames cannot be put side by side.
    #[error("map_scattered: {0}")]
    Scattered(VirtualMapError),
    /// Byte `offset` of scattered frames is not the one of its frame.
    #[error("map_scattered: byte {offset:#x} is not where its frame is")]
    ScatteredElsewhere {
        /// Offset from the beginning.
        offset: usize,
    },
    /// Cache maintenance changed memory that only the CPU writes.
    #[error("{operation}: byte {offset:#x} of memory that the CPU wrote is lost")]
    CacheLosesWrites {
        /// The operation.
        operation: &'static str,
        /// Offset of the byte.
        offset: usize,
    },
    /// Lent frames cannot be mapped uncached.
    #[error("map_frames: {0}")]
    Uncached(VirtualMapError),
    /// The second mapping of frames is not of these frames.
    #[error("map_frames: byte {offset:#x} is not the one of the direct map")]
    OtherMemory {
        /// Offset of the byte.
        offset: usize,
    },
    /// No cache has such lines.
    #[error("cache_line_bytes: {line_bytes} is no length of a cache line")]
    CacheLine {
        /// The length.
        line_bytes: u64,
    },
    /// What the suite was given is no register.
    #[error("there is no register in {range} that the suite could claim")]
    NoRegister {
        /// The range.
        range: PhysRange,
    },
    /// Registers cannot be mapped.
    #[error("ioremap: {0}")]
    Registers(MmioError),
    /// Two windows onto one register are not onto one register.
    #[error(
        "ioremap: {wrote:#x} was written to {range} through one window, and {read:#x} read through another"
    )]
    RegisterElsewhere {
        /// The register.
        range: PhysRange,
        /// What was written.
        wrote: u32,
        /// What was read.
        read: u32,
    },
    /// The clock went back.
    #[error("now_ns: {later} ns after {earlier} ns")]
    ClockGoesBack {
        /// What it said first.
        earlier: u64,
        /// What it said then.
        later: u64,
    },
    /// However long one waits, the clock stands still.
    #[error("now_ns: the clock stands still over {looks} calls of relax")]
    ClockStands {
        /// Calls of [`relax`](Platform::relax).
        looks: u64,
    },
    /// A deadline's handler ran too early.
    #[error("call_at: called {early_ns} ns before the deadline")]
    CalledEarly {
        /// How much too early.
        early_ns: u64,
    },
    /// A deadline's handler was not called once.
    #[error("call_at: called {times} times")]
    NotCalledOnce {
        /// How often it was called.
        times: u64,
    },
    /// A CPU's number is not below the number of CPUs.
    #[error("pin: CPU {cpu} of {count}")]
    NoSuchCpu {
        /// The number.
        cpu: usize,
        /// [`Platform::cpu_count`].
        count: usize,
    },
    /// Two threads were on one CPU at once.
    #[error("pin: two were on CPU {cpu} at once")]
    CpuShared {
        /// The number.
        cpu: usize,
    },
    /// Two held the lock at once.
    #[error("Lock: {lost} of {total} changes made under the lock were lost")]
    LockDoesNotExclude {
        /// Changes that are missing.
        lost: u64,
        /// Changes made.
        total: u64,
    },
    /// A CPU is another one when it is pinned again.
    #[error("pin: pinned again, CPU {cpu} is another one")]
    PinMoves {
        /// The number that the outer closure was given.
        cpu: usize,
    },
    /// There are more CPUs than the port says.
    #[error("cpu_count: {count}, and {online} are up")]
    TooFewCpus {
        /// [`Platform::cpu_count`].
        count: usize,
        /// CPUs that are up.
        online: usize,
    },
    /// The number of CPUs is not always the same.
    #[error("cpu_count: {now}, and {before} before")]
    CpuCountChanges {
        /// What it said first.
        before: usize,
        /// What it said then.
        now: usize,
    },
    /// Each of two CPUs stored and did not see what the other had stored, though one had the other fence in between.
    #[error("fence_cpus: the other CPU did not fence in round {round}")]
    NotFenced {
        /// How often it was tried until then.
        round: u64,
    },
    /// A CPU is made to fence only when it takes interrupts.
    #[error("fence_cpus: it does not return as long as another CPU is pinned")]
    FenceWaits,
    /// Some CPU was not pinned while the others were: the port does not run the closure on all, or some cannot be pinned.
    #[error("pin: of {online} CPUs that are up, {seen} were seen at once")]
    NotEachCpu {
        /// CPUs that were pinned at the same time.
        seen: usize,
        /// CPUs that are up.
        online: usize,
    },
    /// Two interrupts have one message.
    #[error("allocate_interrupt: {first:?} and {second:?} have one message")]
    OneMessage {
        /// The one.
        first: Interrupt,
        /// The other.
        second: Interrupt,
    },
    /// An interrupt that nobody raised has arrived.
    #[error("interrupt_count: {interrupt:?} has arrived {count} times and was never raised")]
    Unraised {
        /// The interrupt.
        interrupt: Interrupt,
        /// How often it is said to have arrived.
        count: u64,
    },
    /// The message window is not whole frames, or is RAM.
    #[error("message_window: {window} is not whole frames beside RAM")]
    MessageWindow {
        /// The window.
        window: PhysRange,
    },
    /// An interrupt's message is written beside the message window.
    #[error("allocate_interrupt: {interrupt:?} is not in the message window, {window}")]
    MessageElsewhere {
        /// The interrupt.
        interrupt: Interrupt,
        /// The window.
        window: PhysRange,
    },
    /// An interrupt that was raised does not arrive.
    #[error("wait_for_interrupt: {interrupt:?} was raised and never arrives")]
    NeverArrives {
        /// The interrupt.
        interrupt: Interrupt,
    },
    /// An interrupt arrived, and its handler does not run.
    #[error("allocate_interrupt: {interrupt:?} arrived, and its handler does not run")]
    NotHandled {
        /// The interrupt.
        interrupt: Interrupt,
    },
    /// A handler ran when its interrupt had been taken back.
    #[error("free_interrupt: the handler of {interrupt:?} runs after it")]
    HandlerAfterFree {
        /// The interrupt.
        interrupt: Interrupt,
    },
    /// Waiting for an interrupt goes on past its deadline.
    #[error("wait_for_interrupt: returned {late_ns} ns after the deadline")]
    WaitTooLong {
        /// How much too late.
        late_ns: u64,
    },
}

/// Checks every promise of [`Platform`] that can be seen from the inside. Everything lent is given back,
/// unless a promise was broken.
///
/// # Errors
/// The first [`Violation`].
pub fn conformance<P: Platform>(platform: P, means: &Means<'_>) -> Result<Report, Violation> {
    let frames = memory::check(platform)?;
    caches::check(platform)?;
    time::check(platform)?;
    let seen = cpus::check(platform, means)?;
    let fences = fences::check(platform, means)?;
    let register_values = registers::check(platform, means.register)?;
    let interrupts = interrupts::check(platform, means.raise)?;
    Ok(Report {
        frames,
        cpus: seen.cpus,
        pins: seen.pins,
        fences,
        register_values,
        interrupts,
    })
}
