use hw::pci::bar::{IoBar, MemoryBar, MemoryBarType};
use hw::pci::bridge::{
    self, BridgeControl, BusNumbers, IoWindow, MemoryWindow, PrefetchableWindow,
};
use hw::pci::capability::{
    ACS_BYTES, ACS_CAPABILITY, ACS_CONTROL, AcsFlags, AddressLines, ExpressFlags, ExtendedHeader,
    Header, extended_id, id,
};
use hw::pci::config::{self, ClassRevision, Command, HeaderType, Status, class};
use hw::pci::msix::{self, Location, MessageControl, VectorControl};
use hw::pci::{ecam_offset, requester_id};

use crate::fields;

#[test]
fn ecam_places_each_part_of_an_address() {
    assert_eq!(ecam_offset(0xff, 0, 0, 0), 0x0ff0_0000);
    assert_eq!(ecam_offset(0, 0x1f, 0, 0), 0x000f_8000);
    assert_eq!(ecam_offset(0, 0, 7, 0), 0x0000_7000);
    assert_eq!(ecam_offset(0, 0, 0, 0xfff), 0x0000_0fff);
    assert_eq!(requester_id(0xff, 0, 0), 0xff00);
    assert_eq!(requester_id(0, 0x1f, 0), 0x00f8);
    assert_eq!(requester_id(0, 0, 7), 0x0007);
}

#[test]
fn config_registers_lie_where_the_manual_says() {
    use config::*;
    assert_eq!(
        [
            VENDOR_ID,
            DEVICE_ID,
            COMMAND,
            STATUS,
            REVISION_ID,
            PROG_IF,
            SUB_CLASS,
            BASE_CLASS,
            CACHE_LINE_SIZE,
            LATENCY_TIMER,
            HEADER_TYPE,
            BIST,
            BAR0,
            SUBSYSTEM_VENDOR_ID,
            SUBSYSTEM_ID,
            EXPANSION_ROM,
            CAPABILITIES_POINTER,
            INTERRUPT_LINE,
            INTERRUPT_PIN,
        ],
        [
            0x00, 0x02, 0x04, 0x06, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x2c,
            0x2e, 0x30, 0x34, 0x3c, 0x3d,
        ]
    );
    assert_eq!(bar(5), 0x24);
}

#[test]
fn bridge_registers_lie_where_the_manual_says() {
    use bridge::*;
    assert_eq!(
        [
            PRIMARY_BUS,
            SECONDARY_BUS,
            SUBORDINATE_BUS,
            SECONDARY_LATENCY_TIMER,
            IO_BASE,
            IO_LIMIT,
            SECONDARY_STATUS,
            MEMORY_BASE,
            MEMORY_LIMIT,
            PREFETCHABLE_BASE,
            PREFETCHABLE_LIMIT,
            PREFETCHABLE_BASE_UPPER,
            PREFETCHABLE_LIMIT_UPPER,
            IO_BASE_UPPER,
            IO_LIMIT_UPPER,
            bridge::EXPANSION_ROM,
            BRIDGE_CONTROL,
        ],
        [
            0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x20, 0x22, 0x24, 0x26, 0x28, 0x2c, 0x30,
            0x32, 0x38, 0x3e,
        ]
    );
}

#[test]
fn config_fields_lie_where_the_manual_says() {
    fields! {
        Command::new().with_io_space(true) => 0x0001;
        Command::new().with_memory_space(true) => 0x0002;
        Command::new().with_bus_master(true) => 0x0004;
        Command::new().with_special_cycles(true) => 0x0008;
        Command::new().with_memory_write_invalidate(true) => 0x0010;
        Command::new().with_vga_palette_snoop(true) => 0x0020;
        Command::new().with_parity_error_response(true) => 0x0040;
        Command::new().with_serr(true) => 0x0100;
        Command::new().with_fast_back_to_back(true) => 0x0200;
        Command::new().with_interrupt_disable(true) => 0x0400;
        Status::new().with_immediate_readiness(true) => 0x0001;
        Status::new().with_interrupt(true) => 0x0008;
        Status::new().with_capabilities_list(true) => 0x0010;
        Status::new().with_capable_66mhz(true) => 0x0020;
        Status::new().with_fast_back_to_back(true) => 0x0080;
        Status::new().with_master_data_parity_error(true) => 0x0100;
        Status::new().with_devsel(3) => 0x0600;
        Status::new().with_signaled_target_abort(true) => 0x0800;
        Status::new().with_received_target_abort(true) => 0x1000;
        Status::new().with_received_master_abort(true) => 0x2000;
        Status::new().with_signaled_system_error(true) => 0x4000;
        Status::new().with_detected_parity_error(true) => 0x8000;
        ClassRevision::new().with_revision(0xff) => 0x0000_00ff;
        ClassRevision::new().with_prog_if(0xff) => 0x0000_ff00;
        ClassRevision::new().with_sub_class(0xff) => 0x00ff_0000;
        ClassRevision::new().with_base_class(0xff) => 0xff00_0000;
        HeaderType::new().with_layout(0x7f) => 0x7f;
        HeaderType::new().with_multi_function(true) => 0x80;
    }
    assert_eq!(
        ClassRevision::from_bits(0x0108_0201).class_code(),
        class::NVME
    );
    assert_eq!(
        ClassRevision::from_bits(0x0604_0001).class_code(),
        class::PCI_BRIDGE
    );
    assert_eq!(
        ClassRevision::from_bits(0x0600_0001).class_code(),
        class::HOST_BRIDGE
    );
}

#[test]
fn bars_lie_as_the_manual_says() {
    fields! {
        MemoryBar::new() => 0;
        MemoryBar::new().with_kind(MemoryBarType::Below1M) => 0x2;
        MemoryBar::new().with_kind(MemoryBarType::Bits64) => 0x4;
        MemoryBar::new().with_prefetchable(true) => 0x8;
        MemoryBar::new().with_base(u32::MAX) => 0xffff_fff0;
        IoBar::new() => 0x1;
        IoBar::new().with_base(u32::MAX) => 0xffff_fffd;
    }
    assert_eq!(IoBar::from_bits(0x0000_c001).base(), 0xc000);
    assert_eq!(MemoryBar::from_bits(0x6).kind(), MemoryBarType::Reserved);
}

#[test]
fn bridge_fields_lie_where_the_manual_says() {
    fields! {
        BusNumbers::new().with_primary(0xff) => 0x0000_00ff;
        BusNumbers::new().with_secondary(0xff) => 0x0000_ff00;
        BusNumbers::new().with_subordinate(0xff) => 0x00ff_0000;
        BusNumbers::new().with_secondary_latency_timer(0xff) => 0xff00_0000;
        MemoryWindow::new().with_base(u32::MAX) => 0x0000_fff0;
        MemoryWindow::new().with_last(u32::MAX) => 0xfff0_0000;
        PrefetchableWindow::new().with_base_width(0xf) => 0x0000_000f;
        PrefetchableWindow::new().with_base(u32::MAX) => 0x0000_fff0;
        PrefetchableWindow::new().with_last_width(0xf) => 0x000f_0000;
        PrefetchableWindow::new().with_last(u32::MAX) => 0xfff0_0000;
        IoWindow::new().with_base_width(0xf) => 0x000f;
        IoWindow::new().with_base(u16::MAX) => 0x00f0;
        IoWindow::new().with_last_width(0xf) => 0x0f00;
        IoWindow::new().with_last(u16::MAX) => 0xf000;
        BridgeControl::new().with_parity_error_response(true) => 0x0001;
        BridgeControl::new().with_serr(true) => 0x0002;
        BridgeControl::new().with_isa(true) => 0x0004;
        BridgeControl::new().with_vga(true) => 0x0008;
        BridgeControl::new().with_vga_16bit(true) => 0x0010;
        BridgeControl::new().with_master_abort_mode(true) => 0x0020;
        BridgeControl::new().with_secondary_bus_reset(true) => 0x0040;
    }
    let io = IoWindow::from_bits(0x2111);
    assert_eq!((io.base(), io.last()), (0x1000, 0x2fff));
    let prefetchable = PrefetchableWindow::from_bits(0x0021_0011);
    assert_eq!(
        (prefetchable.base(), prefetchable.last()),
        (0x0010_0000, 0x002f_ffff)
    );
    assert_eq!(prefetchable.base_width(), PrefetchableWindow::WIDTH_64);
}

#[test]
fn closed_windows_hold_no_address() {
    assert!(MemoryWindow::CLOSED.base() > MemoryWindow::CLOSED.last());
    assert!(PrefetchableWindow::CLOSED.base() > PrefetchableWindow::CLOSED.last());
    assert!(IoWindow::CLOSED.base() > IoWindow::CLOSED.last());
}

#[test]
fn capabilities_lie_as_the_manual_says() {
    fields! {
        Header::new().with_id(0xff) => 0x00ff;
        Header::new().with_next(0xff) => 0xff00;
        ExtendedHeader::new().with_id(0xffff) => 0x0000_ffff;
        ExtendedHeader::new().with_version(0xf) => 0x000f_0000;
        ExtendedHeader::new().with_next(0xfff) => 0xfff0_0000;
        ExpressFlags::new().with_version(0xf) => 0x000f;
        ExpressFlags::new().with_port_type(0xf) => 0x00f0;
        ExpressFlags::new().with_slot(true) => 0x0100;
        ExpressFlags::new().with_interrupt_message(0x1f) => 0x3e00;
    }
    assert_eq!(Header::from_bits(0x5305).next_offset(), 0x50);
    assert_eq!(ExtendedHeader::from_bits(0x1530_0000).next_offset(), 0x150);
    assert_eq!(
        [id::POWER_MANAGEMENT, id::MSI, id::VENDOR_SPECIFIC],
        [0x01, 0x05, 0x09]
    );
    assert_eq!([id::PCI_EXPRESS, id::MSIX], [0x10, 0x11]);
    assert_eq!(
        [extended_id::AER, extended_id::ACS, extended_id::ARI],
        [0x01, 0x0d, 0x0e]
    );
    assert_eq!([extended_id::ATS, extended_id::SRIOV], [0x0f, 0x10]);
    assert_eq!([extended_id::PRI, extended_id::PASID], [0x13, 0x1b]);
}

#[test]
fn access_control_services_are_as_the_manual_numbers_them() {
    fields! {
        AcsFlags::new().with_source_validation(true) => 0x0001;
        AcsFlags::new().with_translation_blocking(true) => 0x0002;
        AcsFlags::new().with_request_redirect(true) => 0x0004;
        AcsFlags::new().with_completion_redirect(true) => 0x0008;
        AcsFlags::new().with_upstream_forwarding(true) => 0x0010;
        AcsFlags::new().with_egress_control(true) => 0x0020;
        AcsFlags::new().with_direct_translated(true) => 0x0040;
        AcsFlags::new().with_enhanced(true) => 0x0080;
        AcsFlags::new().with_egress_vector_size(0xff) => 0xff00;
    }
    assert_eq!([ACS_CAPABILITY, ACS_CONTROL, ACS_BYTES], [4, 6, 8]);
    assert_eq!(AcsFlags::ISOLATING.into_bits(), 0b1_1101);
    let (one, other) = (AcsFlags::from_bits(0x0105), AcsFlags::from_bits(0x000c));
    assert_eq!(one.and(other).into_bits(), 0x0004);
    assert_eq!(one.or(other).into_bits(), 0x010d);
}

#[test]
fn the_address_lines_capability_is_id_next_length_lines() {
    let lines = AddressLines::new().with_next(0x40).with_bits(28);
    assert_eq!(lines.into_bits().to_le_bytes(), [0x09, 0x40, 4, 28]);
}

#[test]
fn msix_lies_as_the_manual_says() {
    fields! {
        MessageControl::new().with_table_size(0x7ff) => 0x07ff;
        MessageControl::new().with_function_mask(true) => 0x4000;
        MessageControl::new().with_enable(true) => 0x8000;
        Location::new().with_bar(7) => 0x0000_0007;
        Location::new().with_offset(u32::MAX) => 0xffff_fff8;
        VectorControl::new().with_mask(true) => 0x1;
    }
    assert_eq!(
        MessageControl::from_bits(0x07ff).entries(),
        msix::ENTRIES_MAX
    );
    assert_eq!(Location::from_bits(0x2003).offset(), 0x2000);
    assert_eq!(
        [msix::MESSAGE_CONTROL, msix::TABLE, msix::PENDING_BITS],
        [2, 4, 8]
    );
    assert_eq!(msix::ENTRY_BYTES, 16);
    assert_eq!([msix::ENTRY_ADDRESS, msix::ENTRY_ADDRESS_UPPER], [0, 4]);
    assert_eq!([msix::ENTRY_DATA, msix::ENTRY_VECTOR_CONTROL], [8, 12]);
}
