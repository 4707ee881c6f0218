//! What differs between the units' rings: registers, and the words of fences.

use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::unit::UnitError;
use crate::platform::Platform;

/// Why a unit reads no commands whose registers read as all ones. To wait for it, command by command, would last for
/// ever.
pub(crate) const GONE: &str = "its registers read as all ones, so it is gone";

/// One command: two 64-bit words in every vendor's queue. Wider entries have zeroes after them.
pub(crate) type Command = [u64; 2];

/// How a fence shows that it, and all before it, is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FenceSign {
    /// It writes a number to memory.
    StatusWord,
    /// The unit's head has moved past it.
    Head,
}

/// What differs between the units' rings.
pub(crate) trait RingPorts<P: Platform> {
    /// How its fences show that they are done.
    const SIGN: FenceSign;

    /// The bound of waits on the unit.
    fn bound(&self) -> &Bound<P>;

    /// Index of the entry the unit reads next; `None` if its register reads as all ones, which is nobody's answer.
    fn read_head(&self) -> Option<u32>;

    /// Tells the unit of all entries before `tail`, which counts on a circle of twice the ring's entries, so that
    /// its highest bit is the wrap flag of units that have one. What was stored before is visible to the unit first.
    fn publish_tail(&self, tail: u32);

    /// The command that ends a group of submissions; where its [sign](Self::SIGN) is [`FenceSign::StatusWord`] it writes the
    /// 32-bit `number` to `status`.
    fn fence(&self, number: u32, status: PhysAddr) -> Command;

    /// Whether the unit has stopped reading, or is not there any more ([`GONE`]).
    ///
    /// # Errors
    /// [`UnitError::QueueStopped`] then.
    fn check(&self) -> Result<(), UnitError>;
}
