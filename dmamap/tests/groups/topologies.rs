//! Groups of computers that are nothing but configuration space.

use dmamap::group::{Acs, Behaviour, Groups, Quirk, Quirks};
use dmamap::iommu::Requester;

use crate::ISOLATING;
use crate::pci_support::{FakeFunction, FakePci, Found};

const ROOT_PORT: u8 = 4;
const UPSTREAM: u8 = 5;
const DOWNSTREAM: u8 = 6;
const TO_PCI: u8 = 7;

fn endpoint() -> FakeFunction {
    FakeFunction::device().with_express(0)
}

fn port(port_type: u8) -> FakeFunction {
    FakeFunction::express_bridge(port_type)
}

fn isolating(port_type: u8) -> FakeFunction {
    port(port_type).with_acs(ISOLATING, ISOLATING)
}

/// Each group's members, in one line.
fn groups(found: &Found) -> Vec<String> {
    groups_with(found, &Quirks::known())
}

fn groups_with(found: &Found, quirks: &Quirks) -> Vec<String> {
    assert_eq!(found.problems(), [] as [&str; 0]);
    let line = |group: &dmamap::group::Group| {
        let names = group.members().iter().map(|member| {
            let address = member.address;
            format!(
                "{:02x}:{}.{}",
                address.bus, address.device, address.function
            )
        });
        names.collect::<Vec<_>>().join(" ")
    };
    Groups::of(&found.topology, quirks)
        .iter()
        .map(line)
        .collect()
}

#[test]
fn functions_of_the_root_complex_are_alone() {
    let board = FakePci::new();
    board.add(None, 1, 0, FakeFunction::device());
    board.add(None, 2, 0, FakeFunction::device().with_express(9));
    let quiet = board.add(None, 3, 0, isolating(ROOT_PORT));
    board.add(Some(quiet), 0, 0, endpoint());
    assert_eq!(
        groups(&board.enumerate()),
        ["00:1.0", "00:2.0", "00:3.0", "01:0.0"]
    );
}

#[test]
fn below_a_root_port_without_access_control_all_is_one_group() {
    for acs in [
        None,
        Some((ISOLATING, 0)),
        Some((ISOLATING, ISOLATING & !4)),
    ] {
        let board = FakePci::new();
        let root = match acs {
            None => port(ROOT_PORT),
            Some((capable, on)) => port(ROOT_PORT).with_acs(capable, on),
        };
        let root = board.add(None, 1, 0, root);
        let switch = board.add(Some(root), 0, 0, port(UPSTREAM));
        for device in 0..2 {
            let below = board.add(Some(switch), device, 0, isolating(DOWNSTREAM));
            board.add(Some(below), 0, 0, endpoint());
        }
        board.add(None, 2, 0, FakeFunction::device());
        assert_eq!(
            groups(&board.enumerate()),
            ["00:1.0 01:0.0 02:0.0 02:1.0 03:0.0 04:0.0", "00:2.0"],
            "{acs:?}"
        );
    }
}

#[test]
fn a_root_port_that_passes_nothing_to_peers_need_not_redirect() {
    let board = FakePci::new();
    let root = board.add(None, 1, 0, port(ROOT_PORT).with_acs(1, 1));
    board.add(Some(root), 0, 0, endpoint());
    let lax = board.add(None, 2, 0, port(ROOT_PORT).with_acs(0, 0));
    board.add(Some(lax), 0, 0, endpoint());
    assert_eq!(
        groups(&board.enumerate()),
        ["00:1.0", "00:2.0 02:0.0", "01:0.0"]
    );
}

#[test]
fn a_switch_isolates_only_if_each_of_its_ports_does() {
    let switch_with = |second: FakeFunction| {
        let board = FakePci::new();
        let root = board.add(None, 1, 0, isolating(ROOT_PORT));
        let switch = board.add(Some(root), 0, 0, port(UPSTREAM));
        for (device, port) in [(0, isolating(DOWNSTREAM)), (1, second)] {
            let below = board.add(Some(switch), device, 0, port);
            board.add(Some(below), 0, 0, endpoint());
        }
        board.enumerate()
    };
    let apart = ["00:1.0", "01:0.0", "02:0.0", "02:1.0", "03:0.0", "04:0.0"];
    assert_eq!(groups(&switch_with(isolating(DOWNSTREAM))), apart);
    let together = ["00:1.0", "01:0.0 02:0.0 02:1.0 03:0.0 04:0.0"];
    assert_eq!(groups(&switch_with(port(DOWNSTREAM))), together);
    // All four are a switch's duty, whatever the port says that it can.
    for flag in [1, 4, 8, 16] {
        let capable = ISOLATING & !flag;
        let lax = port(DOWNSTREAM).with_acs(capable, capable);
        assert_eq!(groups(&switch_with(lax)), together, "{flag}");
    }
}

#[test]
fn functions_of_a_device_are_together_unless_each_keeps_to_itself() {
    let device = |first: FakeFunction, second: FakeFunction| {
        let board = FakePci::new();
        let root = board.add(None, 1, 0, isolating(ROOT_PORT));
        board.add(Some(root), 0, 0, first.multi_function());
        board.add(Some(root), 0, 1, second);
        groups(&board.enumerate())
    };
    let redirecting = || endpoint().with_acs(0b1100, 0b1100);
    assert_eq!(device(endpoint(), endpoint()), ["00:1.0", "01:0.0 01:0.1"]);
    assert_eq!(
        device(redirecting(), endpoint()),
        ["00:1.0", "01:0.0 01:0.1"]
    );
    assert_eq!(
        device(endpoint(), redirecting()),
        ["00:1.0", "01:0.0 01:0.1"]
    );
    assert_eq!(
        device(redirecting(), redirecting()),
        ["00:1.0", "01:0.0", "01:0.1"]
    );
    // An Intel 82576, whose vendor vouches for it.
    let known = || endpoint().with_ids(0x8086, 0x10c9);
    assert_eq!(device(known(), known()), ["00:1.0", "01:0.0", "01:0.1"]);
}

#[test]
fn root_ports_that_are_functions_of_one_device_join_what_is_below_them() {
    let board = FakePci::new();
    for function in 0..2 {
        let root = board.add(None, 1, function, port(ROOT_PORT).multi_function());
        board.add(Some(root), 0, 0, endpoint());
    }
    assert_eq!(groups(&board.enumerate()), ["00:1.0 00:1.1 01:0.0 02:0.0"]);
}

#[test]
fn behind_a_bridge_to_pci_all_speak_in_its_name() {
    let board = FakePci::new();
    let root = board.add(None, 1, 0, isolating(ROOT_PORT));
    let bridge = board.add(Some(root), 0, 0, port(TO_PCI));
    board.add(Some(bridge), 1, 0, FakeFunction::device());
    let second = board.add(Some(bridge), 2, 0, FakeFunction::bare_bridge());
    board.add(Some(second), 3, 0, FakeFunction::device());
    let found = board.enumerate();
    assert_eq!(groups(&found), ["00:1.0", "01:0.0 02:1.0 02:2.0 03:3.0"]);
    let all = Groups::of(&found.topology, &Quirks::known());
    let group = all.group_of(found.function(3, 3, 0).address()).unwrap();
    let ids: Vec<Vec<u16>> = group
        .members()
        .iter()
        .map(|member| member.ids.iter().map(|id| id.id).collect())
        .collect();
    // Device 0 of the bridge's bus; and the conventional bridge by its own id.
    assert_eq!(
        ids,
        [
            vec![0x0100],
            vec![0x0208, 0x0200],
            vec![0x0210, 0x0200],
            vec![0x0318, 0x0210, 0x0200]
        ]
    );
    let alias = Requester {
        segment: 0,
        id: 0x0200,
    };
    let carriers: Vec<_> = all.carriers_of(alias).map(|one| one.to_string()).collect();
    assert_eq!(carriers, ["0000:02:01.0", "0000:02:02.0", "0000:03:03.0"]);
    assert_eq!(
        group.to_string(),
        "0000:01:00.0 0000:02:01.0 0000:02:02.0 0000:03:03.0\n  \
           what is behind 0000:01:00.0 shares a bus\n  \
           what is behind 0000:02:02.0 shares a bus"
    );
}

#[test]
fn a_device_known_to_speak_in_other_names_is_with_whom_it_names() {
    let board = FakePci::new();
    let root = board.add(None, 1, 0, isolating(ROOT_PORT));
    // A Marvell 88SE9230: its engine speaks as a function 1 that may not be there.
    board.add(Some(root), 0, 0, endpoint().with_ids(0x1b4b, 0x9230));
    let found = board.enumerate();
    let member = |quirks: &Quirks| {
        let groups = Groups::of(&found.topology, quirks);
        let group = groups
            .group_of(found.function(1, 0, 0).address())
            .unwrap()
            .clone();
        group.members()[0]
            .ids
            .iter()
            .map(|id| id.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(member(&Quirks::none()), [0x0100]);
    assert_eq!(member(&Quirks::known()), [0x0100, 0x0101]);
    let mut more = Quirks::none();
    more.add(Quirk {
        vendor: 0x1b4b,
        device: 0x9230,
        behaviour: Behaviour::RequestsAsDevice {
            device: 3,
            function: 2,
        },
    });
    assert_eq!(member(&more), [0x0100, 0x011a]);

    // Two devices of the root bus, of which one speaks in the name of the other.
    let board = FakePci::new();
    board.add(None, 1, 0, FakeFunction::device().with_ids(0x9005, 0x0285));
    board.add(None, 2, 0, FakeFunction::device().with_ids(0x9005, 0x0285));
    board.add(None, 3, 0, FakeFunction::device());
    assert_eq!(groups(&board.enumerate()), ["00:1.0 00:2.0", "00:3.0"]);
}

#[test]
fn a_bridge_known_to_be_one_from_express_speaks_for_its_bus() {
    let board = FakePci::new();
    let root = board.add(None, 1, 0, isolating(ROOT_PORT));
    let bridge = FakeFunction::bare_bridge().with_ids(0x1b21, 0x1080);
    let bridge = board.add(Some(root), 0, 0, bridge);
    board.add(Some(bridge), 4, 0, FakeFunction::device());
    let found = board.enumerate();
    let groups = Groups::of(&found.topology, &Quirks::known());
    let group = groups.group_of(found.function(2, 4, 0).address()).unwrap();
    let ids = &group.members()[1].ids;
    assert_eq!(
        ids.iter().map(|id| id.id).collect::<Vec<_>>(),
        [0x0220, 0x0200]
    );
}

#[test]
fn isolation_is_switched_on_as_far_as_it_goes() {
    let board = FakePci::new();
    let capable = board.add(None, 1, 0, port(ROOT_PORT).with_acs(0x005f, 0x0002));
    let partly = board.add(None, 2, 0, port(ROOT_PORT).with_acs(0x0005, 0));
    let none = board.add(None, 3, 0, port(ROOT_PORT));
    let found = board.enumerate();
    for device in 1..4 {
        Acs::isolate(&found.function(0, device, 0)).unwrap();
    }
    assert_eq!(board.config(capable, 0x106, 2), 0x001f);
    assert_eq!(board.config(partly, 0x106, 2), 0x0005);
    assert_eq!(board.config(none, 0x100, 8), 0);
    let acs = Acs::read(&found.function(0, 2, 0)).unwrap();
    assert_eq!((acs.capable.into_bits(), acs.on.into_bits()), (5, 5));
}
