//! The ways that a device's requests take to memory, and how memory is protected on them: what a device lives through must
//! not depend on either.

use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::system::Protection;
use hosted::Hosted;
use machine::cache::Snooping;
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use rig::kinds::kinds;
use rig::{EDU, Rig, small};

/// A computer, and how its devices are kept from memory.
pub(crate) struct Way {
    pub(crate) name: String,
    iommu: Iommu,
    /// `None` without an IOMMU, where the device is trusted.
    pub(crate) protection: Option<Protection>,
    devices: Snooping,
    temper: Temper,
}

/// Each kind of unit with each protection, and none; devices snoop or do not, and every temper has its turn.
pub(crate) fn ways() -> Vec<Way> {
    let protections = [Protection::Strict, Protection::Deferred, Protection::Bounce];
    let tempers = [Temper::Keep, Temper::Forget, Temper::Random(7)];
    let translated = kinds().into_iter().flat_map(|(kind, iommu)| {
        protections.map(|protection| (kind, iommu.clone(), Some(protection)))
    });
    let all = translated.chain([("none", Iommu::None, None)]);
    let all =
        all.flat_map(|way| [Snooping::On, Snooping::Off].map(|devices| (way.clone(), devices)));
    let named = all
        .enumerate()
        .map(|(n, ((kind, iommu, protection), devices))| Way {
            name: format!("{kind} {protection:?} {devices:?}"),
            iommu,
            protection,
            devices,
            temper: tempers[n % 3],
        });
    named.collect()
}

impl Way {
    /// The computer.
    pub(crate) fn config(&self) -> MachineConfig {
        small()
            .with_iommu(self.iommu.clone())
            .with_devices(self.devices)
            .with_temper(self.temper)
    }

    /// Boots the computer that `with` adds to.
    pub(crate) fn boot(&self, with: impl FnOnce(MachineConfig) -> MachineConfig) -> Rig {
        Rig::boot(with(self.config()))
    }

    /// Attaches a device as the way has it.
    pub(crate) fn attach(&self, rig: &Rig, requester: Requester) -> Device<Hosted> {
        let Some(protection) = self.protection else {
            return rig.attach_trusted(requester, Protection::Identity);
        };
        let function = rig.function(requester);
        rig.system()
            .attach(&function, protection)
            .expect(&self.name)
    }

    /// Whether a unit refuses what a device does that was not mapped for it. Where copies stand in, the device has those all
    /// the time.
    pub(crate) fn refuses(&self) -> bool {
        matches!(
            self.protection,
            Some(Protection::Strict | Protection::Deferred)
        )
    }

    /// That what `device` was lent was treated as the way has it. Something was unmapped.
    pub(crate) fn check(&self, device: &Device<Hosted>) {
        let (figures, flushed) = (device.figures(), device.flush_figures());
        let name = &self.name;
        assert_eq!(
            flushed.retired > 0,
            self.protection == Some(Protection::Deferred),
            "{name}: {flushed:?}"
        );
        // Without an IOMMU memory beyond the 28 address lines is copied.
        let copies = !self.refuses() && device.requester() == EDU;
        assert_eq!(figures.bounced_maps > 0, copies, "{name}: {figures:?}");
        assert_eq!(figures.quarantined_bytes, 0, "{name}");
        let maintains = self.devices == Snooping::Off;
        assert_eq!(figures.cleaned_bytes > 0, maintains, "{name}: {figures:?}");
    }

    /// Ends the computer, whose devices `attempts` were refused to.
    pub(crate) fn finish(&self, rig: Rig, attempts: u64) {
        let name = &self.name;
        let refused = if self.refuses() { attempts } else { 0 };
        assert_eq!(rig.system().faults().total, refused, "{name}");
        let lost = rig
            .machine
            .caches()
            .map_or(0, |caches| caches.invalidated_dirty_lines);
        assert_eq!(lost, 0, "{name}: a store was lost");
        rig.finish_after_faults();
    }
}
