//! What the unit remembers of device tables, and what it reads where it remembers nothing: from a request to its
//! [`Context`].

use super::cache::{Caches, Conflict};
use super::core::{Core, Mode, RootTable};
use super::entries::{Context, ContextFault, Tag};
use super::scalable::Directory;
use super::translate::Blocked;
use crate::findings::FindingKind;
use hw::vtd::fault::FaultReason;

impl From<ContextFault> for Blocked {
    fn from(fault: ContextFault) -> Self {
        Self {
            reason: fault.reason,
            silent: fault.silent,
        }
    }
}

impl Core {
    /// What the caches say of a requester, if they have an answer.
    pub(super) fn remembered_context(&self, caches: &Caches, requester: u16) -> Option<Context> {
        match self.live.root_table()?.mode {
            Mode::Legacy => caches.context(requester)?.ok(),
            Mode::Scalable => {
                let directory = caches.directory(requester)?.ok()?;
                caches.pasid(requester, directory.pasid)?.ok()
            }
        }
    }

    /// What the caches say of a requester, or else the tables, which are remembered then.
    pub(super) fn context(&self, caches: &mut Caches, requester: u16) -> Result<Context, Blocked> {
        let Some(RootTable { phys, mode }) = self.live.root_table() else {
            let fault = ContextFault {
                reason: FaultReason::RootTableUnreachable,
                silent: false,
                entry: [0; 2],
            };
            return Err(self.refused(requester, fault));
        };
        match mode {
            Mode::Legacy => self.legacy_context(caches, phys, requester),
            Mode::Scalable => {
                let directory = self.directory(caches, phys, requester)?;
                self.pasid_context(caches, directory, requester)
            }
        }
    }

    fn legacy_context(
        &self,
        caches: &mut Caches,
        root_table: u64,
        requester: u16,
    ) -> Result<Context, Blocked> {
        if let Some(cached) = caches.context(requester) {
            return cached.map_err(Blocked::from);
        }
        let found = self.rules.context(&self.tables, root_table, requester);
        if found.is_ok() || self.rules.caches_absence() {
            let conflict = caches.insert_context(requester, found);
            self.report_conflict(conflict);
        }
        let context = found.map_err(|fault| self.refused(requester, fault))?;
        self.check_domain_id(requester, context);
        Ok(context)
    }

    fn directory(
        &self,
        caches: &mut Caches,
        root_table: u64,
        requester: u16,
    ) -> Result<Directory, Blocked> {
        if let Some(cached) = caches.directory(requester) {
            return cached.map_err(Blocked::from);
        }
        let found = self.rules.directory(&self.tables, root_table, requester);
        if found.is_ok() || self.rules.caches_absence() {
            caches.insert_directory(requester, found);
        }
        found.map_err(|fault| self.refused(requester, fault))
    }

    fn pasid_context(
        &self,
        caches: &mut Caches,
        directory: Directory,
        requester: u16,
    ) -> Result<Context, Blocked> {
        let pasid = directory.pasid;
        if let Some(cached) = caches.pasid(requester, pasid) {
            return cached.map_err(Blocked::from);
        }
        let found = self.rules.pasid(&self.tables, directory);
        if found.is_ok() || self.rules.caches_absence() {
            let conflict = caches.insert_pasid(requester, pasid, found);
            self.report_conflict(conflict);
        }
        let context = found.map_err(|fault| self.refused(requester, fault))?;
        self.check_domain_id(requester, context);
        Ok(context)
    }

    fn refused(&self, requester: u16, fault: ContextFault) -> Blocked {
        self.report_malformed(requester, 0, fault.reason, fault.entry);
        fault.into()
    }

    /// The manual forbids that one domain id goes two ways (6.2.2.1).
    fn report_conflict(&self, conflict: Option<Conflict>) {
        if let Some(Conflict {
            tag: Tag { did, .. },
            requesters: [one, other],
        }) = conflict
        {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!(
                    "domain id {did:#x} leads requesters {one:#06x} and {other:#06x} to different \
                     tables"
                ),
            );
        }
    }

    fn check_domain_id(&self, requester: u16, context: Context) {
        if context.tag.did == 0 && self.rules.caches_absence() {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!("requester {requester:#06x} has domain id 0, reserved with caching mode"),
            );
        }
    }
}
