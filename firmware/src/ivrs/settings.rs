//! What passes a unit unchanged, set for each device entry.

/// What of the devices' interrupts and system messages is to pass the unit unchanged (5.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings(pub u8);

impl Settings {
    /// INIT interrupts.
    pub const fn init(self) -> bool {
        self.0 & 1 != 0
    }

    /// External interrupts.
    pub const fn external(self) -> bool {
        self.0 & 2 != 0
    }

    /// Non-maskable interrupts.
    pub const fn nmi(self) -> bool {
        self.0 & 4 != 0
    }

    /// How system management messages are treated: the value of the device table entry's field.
    pub const fn system_management(self) -> u8 {
        self.0 >> 4 & 3
    }

    /// Interrupts of pin LINT0.
    pub const fn lint0(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Interrupts of pin LINT1.
    pub const fn lint1(self) -> bool {
        self.0 & 0x80 != 0
    }
}
