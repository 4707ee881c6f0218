//! Devices that cannot be told or kept apart share one domain, and one device's registers another's only by leave.

use super::super::mutation::{Mutation, Selection, Test};

const GROUP: &str = "dmamap/src/group/mod.rs";
const MEMBERSHIP: &str = "dmamap/src/system/membership.rs";
const PEER: &str = "dmamap/src/system/peer.rs";
const RESOURCE: &str = "dmamap/src/map/resource.rs";

const fn sharing(name: &'static str) -> Test {
    Test::program("dmamap", "groups/sharing", name)
}

const fn registers(name: &'static str) -> Test {
    Test::program("dmamap", "groups/registers", name)
}

const fn peers(name: &'static str) -> Test {
    Test::program("dmamap", "groups/peers", name)
}

const ORACLE: Test = Test::program(
    "dmamap",
    "groups/oracle",
    "a_group_is_all_that_meet_before_an_iommu",
);

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "switch-taken-for-a-link",
        selection: Selection::Core,
        file: GROUP,
        find: "(Some(PortType::DownstreamPort), Some(switch)) => switch,",
        replace: "(Some(PortType::DownstreamPort), Some(_)) => bridge,",
        why: "a request that enters a switch at a port without access control leaves at another port",
        caught_by: &[
            Test::program(
                "dmamap",
                "groups/topologies",
                "a_switch_isolates_only_if_each_of_its_ports_does",
            ),
            ORACLE,
        ],
    },
    Mutation {
        name: "functions-of-a-device-taken-apart",
        selection: Selection::Core,
        file: GROUP,
        find: "tree.unite_in_devices(&mut partition);",
        replace: "",
        why: "functions of one device reach each other without an IOMMU",
        caught_by: &[sharing("functions_of_one_device_share_a_domain"), ORACLE],
    },
    Mutation {
        name: "alias-not-programmed",
        selection: Selection::Core,
        file: MEMBERSHIP,
        find: "for id in state.groups.ids_of(device) {",
        replace: "for id in [device] {",
        why: "a bridge makes requests in its own name, which its unit refuses",
        caught_by: &[sharing(
            "one_device_behind_a_bridge_reads_and_writes_in_either_name",
        )],
    },
    Mutation {
        name: "isolation-not-switched-on",
        selection: Selection::Core,
        file: "dmamap/src/system/start.rs",
        find: "if let Err(error) = Acs::isolate(function) {",
        replace: "if let Err(error) = Ok::<(), crate::pci::ConfigError>(()) {",
        why: "devices below a port that could isolate them are one group",
        caught_by: &[sharing("ports_isolate_once_the_units_start")],
    },
    Mutation {
        name: "protection-of-a-group-not-compared",
        selection: Selection::Core,
        file: "dmamap/src/system/attach.rs",
        find: "Some(present) if present.protection != protection => {",
        replace: "Some(present) if present.protection != protection && device == present.other => {",
        why: "a device that nobody vouched for shares all memory with one that was vouched for",
        caught_by: &[sharing("a_group_is_protected_in_one_way")],
    },
    Mutation {
        name: "domain-ends-with-the-first-to-leave",
        selection: Selection::Core,
        file: MEMBERSHIP,
        find: "_ => self.part(device, &members, &shared, turn)",
        replace: "_ => self.dissolve(device, &shared, turn)",
        why: "what another device of the group still reaches counts as revoked",
        caught_by: &[sharing(
            "a_mapping_outlives_its_device_as_long_as_another_of_the_group_reaches_it",
        )],
    },
    Mutation {
        name: "detach-silent-about-a-group",
        selection: Selection::Core,
        file: MEMBERSHIP,
        find: "(Some(other), Some(_)) if live_mappings > 0 =>",
        replace: "(Some(other), Some(_)) if live_mappings > u64::MAX - 1 =>",
        why: "memory of the raw layer is reused while another device of the group reaches it",
        caught_by: &[sharing(
            "a_mapping_outlives_its_device_as_long_as_another_of_the_group_reaches_it",
        )],
    },
    Mutation {
        name: "lost-member-forgotten",
        selection: Selection::Core,
        file: MEMBERSHIP,
        find: "let left = left.and(Err(other.error));",
        replace: "let _ = other;",
        why: "tables are freed that a device may walk whose leaving was never confirmed",
        caught_by: &[sharing(
            "a_device_that_was_not_confirmed_to_leave_keeps_its_groups_memory",
        )],
    },
    Mutation {
        name: "redirection-of-peers-ignored",
        selection: Selection::Core,
        file: PEER,
        find: "!ports.any(|port| Acs::read(port).is_some_and(Acs::redirects))",
        replace: "ports.next().is_some()",
        why: "a device is told a bus address at which its requests never arrive",
        caught_by: &[peers(
            "below_a_switch_that_redirects_the_host_bridge_decides",
        )],
    },
    Mutation {
        name: "host-bridge-taken-on-trust",
        selection: Selection::Core,
        file: PEER,
        find: "PeerForwarding::Unknown => PeerVerdict::Refused(PeerRefusal::HostBridgeUnknown)",
        replace: "PeerForwarding::Unknown => PeerVerdict::ThroughHostBridge",
        why: "requests to a peer are lost in a host bridge that nobody vouched for",
        caught_by: &[peers("devices_below_two_root_ports_need_the_host_bridge")],
    },
    Mutation {
        name: "memory-mapped-as-a-resource",
        selection: Selection::Core,
        file: RESOURCE,
        find: "if is_ram { return Err(MapFailure::IsRam { range: registers }); }",
        replace: "",
        why: "memory is mapped that nobody owns for the device",
        caught_by: &[peers("memory_and_registers_of_others_are_no_resource")],
    },
    Mutation {
        name: "page-of-registers-given-to-a-stranger",
        selection: Selection::Core,
        file: "dmamap/src/map/registers.rs",
        find: "Trust::Withheld => check_whole_pages(domain, registers)?,",
        replace: "Trust::Withheld if registers.is_empty() => check_whole_pages(domain, registers)?,
            Trust::Withheld => {}",
        why: "a device that nobody vouched for reaches registers beside the FIFO",
        caught_by: &[registers(
            "a_device_that_nobody_vouched_for_is_given_whole_pages_of_registers_or_none",
        )],
    },
    Mutation {
        name: "carved-registers-given-away",
        selection: Selection::Core,
        file: RESOURCE,
        find: "window.machine() == self.platform().machine() && window.is_undivided()",
        replace: "window.machine() == self.platform().machine()",
        why: "a device reaches registers whose owner did not give them",
        caught_by: &[peers("memory_and_registers_of_others_are_no_resource")],
    },
    Mutation {
        name: "handed-over-domain-that-others-are-in",
        selection: Selection::Core,
        file: "dmamap/src/map/unmanaged.rs",
        find: ".map_err(|other| NotUnmanaged::Shared { device, other })?;",
        replace: ".ok();",
        why: "another device of the group reaches what is mapped there, also after the detach",
        caught_by: &[sharing(
            "a_domain_whose_owner_chooses_what_is_mapped_is_one_devices_alone",
        )],
    },
    Mutation {
        name: "handed-over-domain-lets-others-in",
        selection: Selection::Whole,
        file: "dmamap/src/system/occupancy.rs",
        find: "occupancy.company = Company::Refused;",
        replace: "",
        why: "another device of the group reaches what is mapped there, also after the detach",
        caught_by: &[sharing(
            "a_domain_whose_owner_chooses_what_is_mapped_is_one_devices_alone",
        )],
    },
    Mutation {
        name: "handed-over-domain-maps-for-others",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain.rs",
        find: "inner.chooser = Chooser::Owner;",
        replace: "inner.chooser = match true { true => Chooser::Layer, false => Chooser::Owner };",
        why: "retired memory is mapped again where the domain's owner takes the addresses away",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/unmanaged",
            "memory_that_was_retired_before_is_not_lent_again_in_a_domain_that_was_handed_over",
        )],
    },
    Mutation {
        name: "devices-of-other-machines-attached",
        selection: Selection::Whole,
        file: "dmamap/src/system/attach.rs",
        find: "if machine != system {",
        replace: "if machine != system && false {",
        why: "a device that nothing confines is attached by the word of another machine's unit",
        caught_by: &[Test::program(
            "dmamap",
            "system/one_machine",
            "a_device_of_another_machine_is_not_attached",
        )],
    },
    Mutation {
        name: "foreign-frames-past-the-caches",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/memory.rs",
        find: "check_owner(core, buffer, buffer.segment(0))?;",
        replace: "let _ = check_owner::<P, DmaBuffer<P>>;",
        why: "frames that were never lent here are mapped and invalidated",
        caught_by: &[Test::program(
            "dmamap",
            "system/one_machine",
            "an_area_of_another_machine_lends_nothing_to_a_device",
        )],
    },
];
