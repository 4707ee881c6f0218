//! How devices meet the CPU's caches: as their host bridge says, or as boot code says of one of them.

use super::DmaSystem;
use crate::device::Coherence;
use crate::iommu::Requester;
use crate::platform::Platform;

impl<P: Platform> DmaSystem<P> {
    /// Says of one device how its accesses meet the CPU's caches, whatever its
    /// [host bridge](crate::bridge::HostBridge::coherence) does. Counts from the next time it is attached; the last word
    /// holds.
    ///
    /// # Safety
    /// It is true. Memory of a device that is taken for one that snoops and does not would go on changing after its
    /// mapping ended, when lines of it come from memory; and a device that snoops and is taken for one that does not
    /// would not see what is stored past the caches, nor be seen.
    pub unsafe fn set_coherence(&self, device: Requester, coherence: Coherence) {
        let mut state = self.state.lock();
        state.coherence.retain(|(known, _)| *known != device);
        state.coherence.push((device, coherence));
    }

    /// How the device meets the CPU's caches. Where nothing is known PCI requests snoop.
    pub(super) fn coherence_of(&self, device: Requester) -> Coherence {
        let state = self.state.lock();
        let mut exceptions = state.coherence.iter();
        if let Some((_, coherence)) = exceptions.find(|(known, _)| *known == device) {
            return *coherence;
        }
        let bridge = self.bridge_of(device);
        bridge.map_or(Coherence::Snooped, |bridge| bridge.coherence())
    }
}
