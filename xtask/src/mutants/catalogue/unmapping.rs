//! Clear, invalidate, wait, and only then reuse.

use super::super::mutation::{Mutation, Selection, Test};

const DOMAIN: &str = "dmamap/src/iommu/domain.rs";
const WALKERS: &str = "dmamap/src/iommu/domain/walkers.rs";
const UNCONFIRMED: &str = "dmamap/src/iommu/unconfirmed.rs";
const SUBMIT: &str = "dmamap/src/iommu/command_ring/submit.rs";
const UNIT: &str = "dmamap/src/iommu/vtd/mod.rs";
const INVALIDATION: &str = "dmamap/src/iommu/vtd/invalidation.rs";

const fn strict(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/strict_unmap", name)
}

const fn revocation(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/revocation", name)
}

const fn in_flight(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/in_flight", name)
}

const fn scalable(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/scalable", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "unmap-without-invalidation",
        selection: Selection::Core,
        file: WALKERS,
        find: "match self.each_walker(|unit| unit.invalidate(self.id, change)) {",
        replace: "match Ok::<(), UnitError>(()) {",
        why: "a unit goes on using translations it remembers: the device still reaches the memory",
        caught_by: &[strict(
            "unmap_does_not_return_before_the_wait_descriptor_completed",
        )],
    },
    Mutation {
        name: "unmap-without-wait",
        selection: Selection::Core,
        file: SUBMIT,
        find: "Some(ticket) if self.is_done(ports, ticket) => {}",
        replace: "Some(ticket) if self.is_done(ports, ticket) || ticket.end > 0 => {}",
        why: "the invalidation was asked for, but is not done when unmapping returns",
        caught_by: &[strict(
            "unmap_does_not_return_before_the_wait_descriptor_completed",
        )],
    },
    Mutation {
        name: "iova-freed-before-invalidation",
        selection: Selection::Core,
        file: DOMAIN,
        find: "if let Err((error, unconfirmed)) = self.sync(gather) {",
        replace: "if self.inner.lock().reach == Reach::Live {
            self.inner.lock().iova.free(range).expect(\"a range is freed once, as it was allocated\");
        }
        if true {
            return self.sync(gather).map_err(|(error, _)| error.into());
        }
        if let Err((error, unconfirmed)) = self.sync(gather) {",
        why: "another mapping takes addresses that a unit still translates to the old memory",
        caught_by: &[strict(
            "other_cpus_map_meanwhile_but_never_at_the_addresses_waited_for",
        )],
    },
    Mutation {
        name: "tables-freed-before-invalidation",
        selection: Selection::Core,
        file: WALKERS,
        find: "let change = Change { range, tables: gather.tables() };",
        replace: "let change = Change { range, tables: gather.tables() };
            unsafe { gather.release() };
            let gather = Gather::new(self.platform);",
        why: "a unit walks a table whose frame already holds something else",
        caught_by: &[strict(
            "tables_are_not_freed_before_the_unit_let_go_of_them",
        )],
    },
    Mutation {
        name: "unlinked-tables-kept-in-walk-caches",
        selection: Selection::Core,
        file: INVALIDATION,
        find: "let hint = change.tables == TableChange::Kept;",
        replace: "let hint = change.range.len_bytes() != 0;",
        why: "the hint says that only leaves changed: a unit goes on walking through an unlinked table",
        caught_by: &[strict(
            "what_is_mapped_while_tables_are_unlinked_is_reachable_at_once",
        )],
    },
    Mutation {
        name: "last-page-not-invalidated",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/cover.rs",
        find: "let last = range.last().as_u64() >> FRAME_SIZE_LOG2;",
        replace: "let last = (range.last().as_u64() >> FRAME_SIZE_LOG2).saturating_sub(1).max(first);",
        why: "a unit goes on using a translation of the last page",
        caught_by: &[Test::program("dmamap", "vtd/units", "an_ordinary_unit")],
    },
    Mutation {
        name: "another-domain-invalidated",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "page_bits(domain.0,",
        replace: "page_bits(domain.0 + 1,",
        why: "a unit goes on using all translations of this domain",
        caught_by: &[Test::program("dmamap", "vtd/units", "an_ordinary_unit")],
    },
    Mutation {
        name: "unmap-without-drain",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "iotlb(cap).with_g(IotlbGranularity::Page)",
        replace: "Iotlb::new().with_g(IotlbGranularity::Page)",
        why: "requests translated before the invalidation reach the memory after unmapping returned",
        caught_by: &[in_flight("unmapping_waits_for_requests_that_are_under_way")],
    },
    Mutation {
        name: "map-ignores-unlinking",
        selection: Selection::Whole,
        file: DOMAIN,
        find: "Ok((range, how))",
        replace: "let _ = how;
            Ok((range, Linked::OnKeptTables))",
        why: "a unit looks for the new mapping in the table that is being unlinked, and faults",
        caught_by: &[in_flight(
            "a_table_that_is_being_unlinked_does_not_hide_what_is_mapped_meanwhile",
        )],
    },
    Mutation {
        name: "detach-without-invalidation",
        selection: Selection::Core,
        file: UNIT,
        find: "self.running.tables.clear(attachment.requester.id);
            self.forget_device(attachment, domain)",
        replace: "self.running.tables.clear(attachment.requester.id);
            let _ = domain;
            Ok(())",
        why: "a unit remembers the context entry: the detached device goes on as before",
        caught_by: &[strict(
            "after_a_detach_that_was_not_confirmed_nothing_of_the_device_is_used_again",
        )],
    },
    Mutation {
        name: "detach-without-drain",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "fn one_domain(cap: Cap, domain: DomainId) -> Command { iotlb(cap)",
        replace: "fn one_domain(_cap: Cap, domain: DomainId) -> Command { Iotlb::new()",
        why: "requests translated before the detach reach memory that is given back after it",
        caught_by: &[in_flight("detaching_waits_for_requests_that_are_under_way")],
    },
    Mutation {
        name: "detach-forgets-only-the-context",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "batch.push(one_domain(cap, domain));",
        replace: "let _ = cap;",
        why: "the next device with the same domain id uses what was cached for this one",
        caught_by: &[revocation("detaching_revokes_mappings_that_live")],
    },
    Mutation {
        name: "detach-forgets-no-pasid-entry",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "batch.push(pasid.to_words());",
        replace: "let _ = pasid;",
        why: "in scalable mode a unit remembers the PASID-table entry: the detached device goes on as before",
        caught_by: &[scalable(
            "identity_reaches_all_memory_and_nothing_is_reached_after_it",
        )],
    },
    Mutation {
        name: "first-stage-pages-invalidated-as-second-stage",
        selection: Selection::Whole,
        file: INVALIDATION,
        find: "let page = match mode {",
        replace: "let page = match Mode::Legacy {",
        why: "page-selective IOTLB invalidations do not reach first-stage translations",
        caught_by: &[scalable("an_ordinary_unit")],
    },
    Mutation {
        name: "pasid-entry-present-before-it-is-whole",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/pasid_table.rs",
        find: "for word in (0..WORDS).rev() { pasids.store(word, new[word]); }",
        replace: "for word in 0..WORDS { pasids.store(word, new[word]); }",
        why: "a unit that fetches the entry in between takes its domain id from an empty word",
        caught_by: &[Test::program(
            "dmamap",
            "vtd/device_tables",
            "an_entry_of_a_requester_is_never_met_half_written",
        )],
    },
    Mutation {
        name: "walks-of-first-stage-tables-do-not-snoop",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/pasid_table.rs",
        find: ".with_pwsnp(walks_snoop)",
        replace: ".with_pwsnp(walks_snoop && false)",
        why: "a unit walks what memory held before the CPU's caches were written back",
        caught_by: &[scalable("entries_say_how_walks_and_pages_snoop")],
    },
    Mutation {
        name: "start-without-invalidation",
        selection: Selection::Core,
        file: "dmamap/src/iommu/vtd/start.rs",
        find: "queue.submit(registers, batch.as_slice(), \"global invalidation\")",
        replace: "Ok(drop(batch))",
        why: "what firmware's tables left in a unit's caches outlives them",
        caught_by: &[strict(
            "unmap_does_not_return_before_the_wait_descriptor_completed",
        )],
    },
    Mutation {
        name: "quarantine-forgotten",
        selection: Selection::Whole,
        file: "dmamap/src/device/quarantine.rs",
        find: "self.quarantine.keep(owner, len_bytes, copies);",
        replace: "let _ = (len_bytes, copies); drop(ManuallyDrop::into_inner(owner));",
        why: "memory that a device may still reach is used again",
        caught_by: &[strict(
            "an_unmap_that_is_never_confirmed_quarantines_the_memory",
        )],
    },
    Mutation {
        name: "quarantined-addresses-reused",
        selection: Selection::Whole,
        file: UNCONFIRMED,
        find: "let kept = inner.iova.keep(range);",
        replace: "let kept = inner.iova.free(range);",
        why: "addresses whose old translation may be cached are given to another mapping",
        caught_by: &[strict(
            "an_unmap_that_is_never_confirmed_quarantines_the_memory",
        )],
    },
    Mutation {
        name: "unconfirmed-tables-freed",
        selection: Selection::Whole,
        file: UNCONFIRMED,
        find: "self.unconfirmed.absorb(unconfirmed);",
        replace: "unsafe { unconfirmed.gather.release() };",
        why: "the unit never said that it let go of the tables",
        caught_by: &[strict(
            "tables_whose_invalidation_was_never_confirmed_are_kept",
        )],
    },
    Mutation {
        name: "unconfirmed-detach-forgotten",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain/end.rs",
        find: "inner.reach = Reach::Unconfirmed;",
        replace: "inner.reach = Reach::Revoked;",
        why: "mappings give memory back that the device may still reach",
        caught_by: &[strict(
            "after_a_detach_that_was_not_confirmed_nothing_of_the_device_is_used_again",
        )],
    },
    Mutation {
        name: "queue-overruns-itself",
        selection: Selection::Whole,
        file: SUBMIT,
        find: "self.see_head(ring, ports);
        if ring.unread() <= most {",
        replace: "ring.read = ring.written;
        if ring.unread() <= most {",
        why: "descriptors that the unit has not fetched are overwritten",
        caught_by: &[Test::program(
            "dmamap",
            "vtd/full_queue",
            "no_invalidation_is_lost_when_the_queue_is_full",
        )],
    },
    Mutation {
        name: "stopped-queue-not-noticed",
        selection: Selection::Whole,
        file: SUBMIT,
        find: "if polls.is_multiple_of(POLLS_PER_ERROR_CHECK) {
                ports.check()?;
            }",
        replace: "let _ = POLLS_PER_ERROR_CHECK;",
        why: "a unit that stopped is waited for until patience ends, and the reason is lost",
        caught_by: &[strict("a_queue_that_stopped_is_a_typed_error_at_once")],
    },
    Mutation {
        name: "late-cpu-blames-the-unit",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/bound.rs",
        find: "return look(Look::Last);",
        replace: "return Ok(None);",
        why: "a CPU that was away until after the deadline gives up on a unit that has answered",
        caught_by: &[Test::library(
            "dmamap",
            "iommu::bound::tests::a_cpu_that_was_away_until_after_the_deadline_looks_once_more",
        )],
    },
];
