//! Devices that behave otherwise than they say: known by vendor and device id.
//!
//! The list is short: what is widely met and well documented by its vendor or its users. A machine's boot code adds what
//! it knows of ([`Quirks::add`]).

use alloc::vec::Vec;

/// How a device behaves, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Its functions do not reach each other, and a port sends all requests up, although access control services do not
    /// say so.
    Isolates,
    /// Requests also carry the id of this function of the same device, whether it is there or not.
    RequestsAsFunction(u8),
    /// Requests also carry the id of this device and function of the same bus.
    RequestsAsDevice {
        /// Device number: 0 to 31.
        device: u8,
        /// Function number: 0 to 7.
        function: u8,
    },
    /// A bridge without a PCI Express capability that makes the requests of what is behind it as PCIe-to-PCI bridges do:
    /// in the name of device 0 of the bus behind it.
    BridgesFromExpress,
}

/// What one kind of device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirk {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// What it does.
    pub behaviour: Behaviour,
}

const fn quirk(vendor: u16, device: u16, behaviour: Behaviour) -> Quirk {
    Quirk {
        vendor,
        device,
        behaviour,
    }
}

const ADAPTEC: u16 = 0x9005;
const ASMEDIA: u16 = 0x1b21;
const INTEL: u16 = 0x8086;
const ITE: u16 = 0x1283;
const MARVELL: u16 = 0x1b4b;
const RICOH: u16 = 0x1180;
const SOLARFLARE: u16 = 0x1924;
const TUNDRA: u16 = 0x10e3;

/// The SATA engine of these controllers is function 0, and makes its requests as function 1.
const AS_FUNCTION_1: Behaviour = Behaviour::RequestsAsFunction(1);
/// Card readers whose functions all make their requests as function 0.
const AS_FUNCTION_0: Behaviour = Behaviour::RequestsAsFunction(0);

const KNOWN: [Quirk; 23] = [
    quirk(MARVELL, 0x9120, AS_FUNCTION_1),
    quirk(MARVELL, 0x9123, AS_FUNCTION_1),
    quirk(MARVELL, 0x9128, AS_FUNCTION_1),
    quirk(MARVELL, 0x9130, AS_FUNCTION_1),
    quirk(MARVELL, 0x9172, AS_FUNCTION_1),
    quirk(MARVELL, 0x917a, AS_FUNCTION_1),
    quirk(MARVELL, 0x9182, AS_FUNCTION_1),
    quirk(MARVELL, 0x9183, AS_FUNCTION_1),
    quirk(MARVELL, 0x91a0, AS_FUNCTION_1),
    quirk(MARVELL, 0x9215, AS_FUNCTION_1),
    quirk(MARVELL, 0x9220, AS_FUNCTION_1),
    quirk(MARVELL, 0x9230, AS_FUNCTION_1),
    quirk(RICOH, 0xe832, AS_FUNCTION_0),
    quirk(RICOH, 0xe476, AS_FUNCTION_0),
    // A processor of its own makes the requests of the RAID controller.
    quirk(
        ADAPTEC,
        0x0285,
        Behaviour::RequestsAsDevice {
            device: 1,
            function: 0,
        },
    ),
    quirk(ASMEDIA, 0x1080, Behaviour::BridgesFromExpress),
    quirk(TUNDRA, 0x8113, Behaviour::BridgesFromExpress),
    quirk(ITE, 0x8892, Behaviour::BridgesFromExpress),
    // Network controllers of several functions, whose vendors vouch that these do not meet inside.
    quirk(SOLARFLARE, 0x0903, Behaviour::Isolates),
    quirk(SOLARFLARE, 0x0923, Behaviour::Isolates),
    quirk(INTEL, 0x10c9, Behaviour::Isolates),
    quirk(INTEL, 0x10fb, Behaviour::Isolates),
    quirk(INTEL, 0x1521, Behaviour::Isolates),
];

/// The devices known to behave otherwise than they say.
#[derive(Clone, Debug)]
pub struct Quirks(Vec<Quirk>);

impl Quirks {
    /// None: every device is what it says.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Those that this layer knows.
    pub fn known() -> Self {
        Self(KNOWN.to_vec())
    }

    /// One more.
    pub fn add(&mut self, quirk: Quirk) {
        self.0.push(quirk);
    }

    /// What devices of a kind do.
    pub fn of(&self, vendor: u16, device: u16) -> impl Iterator<Item = Behaviour> {
        let ours = self
            .0
            .iter()
            .filter(move |quirk| (quirk.vendor, quirk.device) == (vendor, device));
        ours.map(|quirk| quirk.behaviour)
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self::known()
    }
}
