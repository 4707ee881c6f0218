//! Which pools serve a device.

use super::Forced;
use super::figures::PoolFigures;
use super::own::OwnPools;
use super::pool::Pool;
use super::run::Run;
use crate::addr::PhysAddr;
use crate::map::Permission;
use crate::platform::Platform;

/// Which of a device's pools a run came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolName {
    /// The machine's, or the one the device is restricted to.
    Shared,
    /// The device's own, always mapped for it with this permission.
    Own(Permission),
}

/// The pools that serve one device.
pub(crate) struct Bounce<P: Platform> {
    /// The machine's, or the one the device is restricted to.
    pub(crate) shared: &'static Pool<P>,
    /// Those always mapped for it.
    pub(crate) own: Option<OwnPools<P>>,
    /// Mappings of fewer bytes are copied to `own`, if there is such: all, under `Protection::Bounce`.
    pub(crate) own_below_bytes: u64,
    /// Whether memory is copied even where the device reaches it.
    pub(crate) forced: Forced,
}

/// More bytes than any mapping has.
pub(crate) const ALL: u64 = u64::MAX;

impl<P: Platform> Bounce<P> {
    /// The device's own pools, where all its mappings are copied there.
    pub(crate) fn own_for_all(&self) -> Option<&OwnPools<P>> {
        self.own.as_ref().filter(|_| self.own_below_bytes == ALL)
    }

    /// The device's own pools, where mappings of `len_bytes` are copied there.
    #[inline]
    pub(crate) fn own_for(&self, len_bytes: u64) -> Option<&OwnPools<P>> {
        let own = self.own.as_ref();
        own.filter(|_| len_bytes < self.own_below_bytes)
    }

    /// Whether mappings of `len_bytes` are copied to the device's own pools, if it has some.
    #[inline]
    pub(crate) fn may_be_for_own(&self, len_bytes: u64) -> bool {
        len_bytes < self.own_below_bytes
    }

    /// Mappings of fewer bytes may be copied to the device's own pools.
    pub(crate) fn own_below_bytes(&self) -> u64 {
        self.own_below_bytes
    }

    #[inline]
    pub(crate) fn pool(&self, name: PoolName) -> &Pool<P> {
        match (name, &self.own) {
            (PoolName::Own(permission), Some(own)) => own.of(permission),
            _ => self.shared,
        }
    }

    /// The run that was lent for a mapping whose first byte the device finds at physical `first`.
    pub(crate) fn find(&self, first: PhysAddr) -> Option<(PoolName, Run)> {
        let own = self.own.iter().flat_map(|own| {
            let all = [Permission::Read, Permission::Write, Permission::ReadWrite];
            all.map(|permission| (PoolName::Own(permission), own.of(permission)))
        });
        let mut pools = own.chain([(PoolName::Shared, self.shared)]);
        pools.find_map(|(name, pool)| Some((name, pool.find(first)?)))
    }

    /// Whether any of the pools has lent anything.
    pub(crate) fn anything_lent(&self) -> bool {
        let own = self.own.as_ref();
        self.shared.anything_lent() || own.is_some_and(|own| own.pools().any(Pool::anything_lent))
    }

    /// What the pools that serve this device alone hold and lend; of the machine's pool where it has none.
    pub(crate) fn figures(&self) -> PoolFigures {
        match &self.own {
            Some(own) => own.figures(),
            None => self.shared.figures(),
        }
    }
}
