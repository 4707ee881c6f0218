//! Interrupt control and global errors.

use bitfield_struct::bitfield;

/// `IRQ_CTRL` and `IRQ_CTRLACK`: which interrupts the unit sends (6.3.16, 6.3.17).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IrqCtrl {
    /// Of global errors.
    pub gerror_irqen: bool,
    /// Of the page request queue.
    pub priq_irqen: bool,
    /// Of the event queue.
    pub eventq_irqen: bool,
    #[bits(29)]
    __: u32,
}

/// `GERROR` and `GERRORN`: a global error is active while its bit differs between the two (6.3.18, 6.3.19).
///
/// The unit toggles a bit of `GERROR` when an error that is not active occurs; software acknowledges it by
/// making the bit of `GERRORN` equal.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Gerror {
    /// The command queue stopped: `CMDQ_CONS.ERR` says why (7.1).
    pub cmdq_err: bool,
    __: bool,
    /// Writing the event queue failed; the record is lost.
    pub eventq_abt_err: bool,
    /// Writing the page request queue failed.
    pub priq_abt_err: bool,
    /// The message of a `CMD_SYNC` could not be written.
    pub msi_cmdq_abt_err: bool,
    /// The event queue's message could not be written.
    pub msi_eventq_abt_err: bool,
    /// The page request queue's message could not be written.
    pub msi_priq_abt_err: bool,
    /// The global error's message could not be written.
    pub msi_gerror_abt_err: bool,
    /// The unit entered service failure mode: it translates nothing any more.
    pub sfm_err: bool,
    /// An enhanced command queue stopped.
    pub cmdqp_err: bool,
    #[bits(22)]
    __: u32,
}
