use hw::virtio::feature::Features;
use hw::virtio::iommu::fault::{self, Fault, FaultFlags, FaultReason};
use hw::virtio::iommu::probe::{PropertyHeader, PropertyType, ReservedMemory, ReservedSubtype};
use hw::virtio::iommu::request::{
    Attach, AttachFlags, Detach, Head, Map, MapFlags, Probe, RequestType, Status, Tail, Unmap,
};
use hw::virtio::iommu::{self, config};
use hw::virtio::pci::{CapabilityHeader, StructureType};
use hw::virtio::queue::{self, AvailableFlags, Descriptor, DescriptorFlags, UsedEntry, UsedFlags};
use hw::virtio::status::{DeviceStatus, InterruptStatus};
use hw::virtio::{self, mmio, pci};

use crate::fields;

#[test]
fn features_lie_where_the_manual_says() {
    fields! {
        Features::new().with_input_range(true) => 1 << 0;
        Features::new().with_domain_range(true) => 1 << 1;
        Features::new().with_map_unmap(true) => 1 << 2;
        Features::new().with_bypass(true) => 1 << 3;
        Features::new().with_probe(true) => 1 << 4;
        Features::new().with_mmio(true) => 1 << 5;
        Features::new().with_bypass_config(true) => 1 << 6;
        Features::new().with_indirect_desc(true) => 1 << 28;
        Features::new().with_event_idx(true) => 1 << 29;
        Features::new().with_version_1(true) => 1 << 32;
        Features::new().with_access_platform(true) => 1 << 33;
        Features::new().with_ring_packed(true) => 1 << 34;
        Features::new().with_in_order(true) => 1 << 35;
        Features::new().with_order_platform(true) => 1 << 36;
        Features::new().with_sr_iov(true) => 1 << 37;
        Features::new().with_notification_data(true) => 1 << 38;
        Features::new().with_notif_config_data(true) => 1 << 39;
        Features::new().with_ring_reset(true) => 1 << 40;
    }
    let all = Features::from_bits(0x0123_4567_89ab_cdef);
    assert_eq!((all.low(), all.high()), (0x89ab_cdef, 0x0123_4567));
    assert_eq!(Features::from_halves(0x89ab_cdef, 0x0123_4567), all);
}

#[test]
fn statuses_lie_where_the_manual_says() {
    fields! {
        DeviceStatus::new().with_acknowledge(true) => 1;
        DeviceStatus::new().with_driver(true) => 2;
        DeviceStatus::new().with_driver_ok(true) => 4;
        DeviceStatus::new().with_features_ok(true) => 8;
        DeviceStatus::new().with_device_needs_reset(true) => 64;
        DeviceStatus::new().with_failed(true) => 128;
        InterruptStatus::new().with_used_buffer(true) => 1;
        InterruptStatus::new().with_config_change(true) => 2;
    }
}

#[test]
fn split_queues_are_laid_out_as_the_manual_says() {
    fields! {
        DescriptorFlags::new().with_next(true) => 1;
        DescriptorFlags::new().with_write(true) => 2;
        DescriptorFlags::new().with_indirect(true) => 4;
        AvailableFlags::new().with_no_interrupt(true) => 1;
        UsedFlags::new().with_no_notify(true) => 1;
    }
    let descriptor = Descriptor {
        addr: 0x0102_0304_0506_0708,
        len: 0x090a_0b0c,
        flags: DescriptorFlags::from_bits(0x0d0e),
        next: 0x0f10,
    };
    let words = [0x0102_0304_0506_0708, 0x0f10_0d0e_090a_0b0c];
    assert_eq!(descriptor.to_words(), words);
    assert_eq!(Descriptor::from_words(words), descriptor);
    let used = UsedEntry { id: 7, len: 24 };
    assert_eq!(used.to_words(), [7, 24]);
    assert_eq!(UsedEntry::from_words([7, 24]), used);
    assert_eq!(
        [
            queue::DESCRIPTOR_TABLE_ALIGN,
            queue::AVAILABLE_ALIGN,
            queue::USED_ALIGN,
            queue::DESCRIPTOR_BYTES,
            queue::USED_ENTRY_BYTES,
            queue::SIZE_MAX.into(),
        ],
        [16, 2, 4, 16, 8, 32768]
    );
    assert_eq!([queue::AVAILABLE_FLAGS, queue::AVAILABLE_IDX], [0, 2]);
    assert_eq!([queue::USED_FLAGS, queue::USED_IDX], [0, 2]);
    assert_eq!(
        [queue::available_entry(0), queue::available_entry(255)],
        [4, 514]
    );
    assert_eq!([queue::used_entry(0), queue::used_entry(255)], [4, 2044]);
    assert_eq!(
        [queue::available_bytes(256), queue::used_bytes(256)],
        [518, 2054]
    );
}

#[test]
fn registers_in_the_memory_map_are_the_manuals() {
    assert_eq!(
        [
            mmio::MAGIC_VALUE,
            mmio::VERSION,
            mmio::DEVICE_ID,
            mmio::VENDOR_ID,
            mmio::DEVICE_FEATURES,
            mmio::DEVICE_FEATURES_SEL,
            mmio::DRIVER_FEATURES,
            mmio::DRIVER_FEATURES_SEL,
            mmio::QUEUE_SEL,
            mmio::QUEUE_SIZE_MAX,
            mmio::QUEUE_SIZE,
            mmio::QUEUE_READY,
            mmio::QUEUE_NOTIFY,
            mmio::INTERRUPT_STATUS,
            mmio::INTERRUPT_ACK,
            mmio::STATUS,
            mmio::QUEUE_DESC_LOW,
            mmio::QUEUE_DESC_HIGH,
            mmio::QUEUE_DRIVER_LOW,
            mmio::QUEUE_DRIVER_HIGH,
            mmio::QUEUE_DEVICE_LOW,
            mmio::QUEUE_DEVICE_HIGH,
            mmio::CONFIG_GENERATION,
            mmio::CONFIG,
        ],
        [
            0x000, 0x004, 0x008, 0x00c, 0x010, 0x014, 0x020, 0x024, 0x030, 0x034, 0x038, 0x044,
            0x050, 0x060, 0x064, 0x070, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0fc, 0x100,
        ]
    );
    assert_eq!([mmio::MAGIC, mmio::VERSION_2], [0x7472_6976, 2]);
}

#[test]
fn registers_on_a_pci_bus_are_the_manuals() {
    assert_eq!(
        [
            pci::DEVICE_FEATURE_SELECT,
            pci::DEVICE_FEATURE,
            pci::DRIVER_FEATURE_SELECT,
            pci::DRIVER_FEATURE,
            pci::CONFIG_MSIX_VECTOR,
            pci::NUM_QUEUES,
            pci::DEVICE_STATUS,
            pci::CONFIG_GENERATION,
            pci::QUEUE_SELECT,
            pci::QUEUE_SIZE,
            pci::QUEUE_MSIX_VECTOR,
            pci::QUEUE_ENABLE,
            pci::QUEUE_NOTIFY_OFF,
            pci::QUEUE_DESC,
            pci::QUEUE_DRIVER,
            pci::QUEUE_DEVICE,
            pci::COMMON_BYTES,
        ],
        [
            0, 4, 8, 12, 16, 18, 20, 21, 22, 24, 26, 28, 30, 32, 40, 48, 56
        ]
    );
    assert_eq!((pci::VENDOR_ID, pci::NO_VECTOR), (0x1af4, 0xffff));
    assert_eq!(pci::device_id(virtio::DEVICE_TYPE_IOMMU), 0x1057);
    assert_eq!(
        pci::notify_offset(0xffff, u32::MAX),
        Some(0xffff * 0xffff_ffff)
    );
}

#[test]
fn capabilities_on_a_pci_bus_are_the_manuals() {
    let empty = CapabilityHeader::new().with_id(0);
    fields! {
        CapabilityHeader::new() => 0x0000_0009;
        empty.with_next(0xff) => 0x0000_ff00;
        empty.with_len_bytes(0xff) => 0x00ff_0000;
        empty.with_structure(0xff) => 0xff00_0000;
    }
    assert_eq!(
        [
            pci::CAP_BAR,
            pci::CAP_ID,
            pci::CAP_OFFSET,
            pci::CAP_LENGTH,
            pci::CAP_NOTIFY_OFF_MULTIPLIER,
            pci::CAP_BYTES.into(),
            pci::CAP_NOTIFY_BYTES.into(),
        ],
        [4, 5, 8, 12, 16, 16, 20]
    );
    let named = [
        (1, StructureType::Common),
        (2, StructureType::Notify),
        (3, StructureType::Isr),
        (4, StructureType::Device),
        (5, StructureType::Pci),
        (8, StructureType::SharedMemory),
        (9, StructureType::Vendor),
    ];
    for code in 0..=u8::MAX {
        let expected = named.iter().find(|(known, _)| *known == code);
        assert_eq!(
            StructureType::from_code(code),
            expected.map(|(_, kind)| *kind)
        );
    }
    for (code, kind) in named {
        assert_eq!(kind.code(), code);
    }
}

#[test]
fn configuration_of_the_iommu_is_the_manuals() {
    assert_eq!(
        [
            config::PAGE_SIZE_MASK,
            config::INPUT_RANGE_START,
            config::INPUT_RANGE_END,
            config::DOMAIN_RANGE_START,
            config::DOMAIN_RANGE_END,
            config::PROBE_SIZE,
            config::BYPASS,
            config::CONFIG_BYTES,
        ],
        [0, 8, 16, 24, 28, 32, 36, 40]
    );
    assert_eq!(
        [iommu::REQUEST_QUEUE, iommu::EVENT_QUEUE, iommu::QUEUES],
        [0, 1, 2]
    );
    assert_eq!(virtio::DEVICE_TYPE_IOMMU, 23);
}

#[test]
fn request_fields_lie_where_the_manual_says() {
    fields! {
        Head::new().with_kind(0xff) => 0x0000_00ff;
        Tail::new().with_status(0xff) => 0x0000_00ff;
        AttachFlags::new().with_bypass(true) => 1;
        MapFlags::new().with_read(true) => 1;
        MapFlags::new().with_write(true) => 2;
        MapFlags::new().with_mmio(true) => 4;
    }
    let attach = Attach {
        domain: 0x0102_0304,
        endpoint: 0x0506_0708,
        flags: AttachFlags::new().with_bypass(true),
    };
    let words = [1, 0x0102_0304, 0x0506_0708, 1, 0];
    assert_eq!(attach.to_words(), words);
    assert_eq!(Attach::from_words(words), attach);

    let detach = Detach {
        domain: 0x0102_0304,
        endpoint: 0x0506_0708,
    };
    let words = [2, 0x0102_0304, 0x0506_0708, 0, 0];
    assert_eq!(detach.to_words(), words);
    assert_eq!(Detach::from_words(words), detach);

    let map = Map {
        domain: 0x0102_0304,
        virt_start: 0x1112_1314_1516_1718,
        virt_end: 0x2122_2324_2526_2728,
        phys_start: 0x3132_3334_3536_3738,
        flags: MapFlags::from_bits(7),
    };
    let words = [
        3,
        0x0102_0304,
        0x1516_1718,
        0x1112_1314,
        0x2526_2728,
        0x2122_2324,
        0x3536_3738,
        0x3132_3334,
        7,
    ];
    assert_eq!(map.to_words(), words);
    assert_eq!(Map::from_words(words), map);

    let unmap = Unmap {
        domain: 0x0102_0304,
        virt_start: 0x1112_1314_1516_1718,
        virt_end: 0x2122_2324_2526_2728,
    };
    let words = [
        4,
        0x0102_0304,
        0x1516_1718,
        0x1112_1314,
        0x2526_2728,
        0x2122_2324,
        0,
    ];
    assert_eq!(unmap.to_words(), words);
    assert_eq!(Unmap::from_words(words), unmap);

    let probe = Probe {
        endpoint: 0x0506_0708,
    };
    let mut words = [0; 18];
    words[..2].copy_from_slice(&[5, 0x0506_0708]);
    assert_eq!(probe.to_words(), words);
    assert_eq!(Probe::from_words(words), probe);
}

#[test]
fn requests_are_as_long_as_the_manual_says() {
    let bytes = [
        Attach::WORDS,
        Detach::WORDS,
        Map::WORDS,
        Unmap::WORDS,
        Probe::WORDS,
    ]
    .map(|words| words * 4);
    assert_eq!(bytes, [20, 20, 36, 28, 72]);
}

#[test]
fn correct_requests_have_no_reserved_bit_set() {
    let all = u64::MAX;
    let attach = Attach {
        domain: !0,
        endpoint: !0,
        flags: AttachFlags::new().with_bypass(true),
    };
    let detach = Detach {
        domain: !0,
        endpoint: !0,
    };
    let map = Map {
        domain: !0,
        virt_start: all,
        virt_end: all,
        phys_start: all,
        flags: MapFlags::from_bits(7),
    };
    let unmap = Unmap {
        domain: !0,
        virt_start: all,
        virt_end: all,
    };
    // Every bit is either meant or reserved, but for those that tell the type.
    fn check<const N: usize>(words: [u32; N], reserved: [u32; N]) {
        for (n, (word, reserved)) in words.into_iter().zip(reserved).enumerate() {
            assert_eq!(word & reserved, 0, "word {n}");
            if n > 0 {
                assert_eq!(word | reserved, u32::MAX, "word {n}");
            }
        }
    }
    check(attach.to_words(), Attach::RESERVED);
    check(detach.to_words(), Detach::RESERVED);
    check(map.to_words(), Map::RESERVED);
    check(unmap.to_words(), Unmap::RESERVED);
}

#[test]
fn codes_are_the_manuals() {
    let types = [
        RequestType::Attach,
        RequestType::Detach,
        RequestType::Map,
        RequestType::Unmap,
        RequestType::Probe,
    ];
    for (code, kind) in (1..).zip(types) {
        assert_eq!(
            (kind.code(), RequestType::from_code(code)),
            (code, Some(kind))
        );
    }
    assert_eq!([0, 6, 255].map(RequestType::from_code), [None; 3]);

    let statuses = [
        Status::Ok,
        Status::IoError,
        Status::Unsupported,
        Status::DeviceError,
        Status::Invalid,
        Status::Range,
        Status::NoEntry,
        Status::Fault,
        Status::NoMemory,
    ];
    for (code, status) in (0..).zip(statuses) {
        assert_eq!(
            (status.code(), Status::from_code(code)),
            (code, Some(status))
        );
    }
    assert_eq!([9, 255].map(Status::from_code), [None; 2]);

    let reasons = [
        FaultReason::Unknown,
        FaultReason::Domain,
        FaultReason::Mapping,
    ];
    for (code, reason) in (0..).zip(reasons) {
        assert_eq!(
            (reason.code(), FaultReason::from_code(code)),
            (code, Some(reason))
        );
    }
    assert_eq!([3, 255].map(FaultReason::from_code), [None; 2]);

    let subtypes = [ReservedSubtype::Reserved, ReservedSubtype::Msi];
    for (code, subtype) in (0..).zip(subtypes) {
        assert_eq!(
            (subtype.code(), ReservedSubtype::from_code(code)),
            (code, Some(subtype))
        );
    }
    assert_eq!(ReservedSubtype::from_code(2), None);

    let properties = [PropertyType::None, PropertyType::ReservedMemory];
    for (code, property) in (0..).zip(properties) {
        assert_eq!(
            (property.code(), PropertyType::from_code(code)),
            (code, Some(property))
        );
    }
    assert_eq!(PropertyType::from_code(2), None);
}

#[test]
fn properties_lie_where_the_manual_says() {
    fields! {
        PropertyHeader::new().with_kind(0xfff) => 0x0000_0fff;
        PropertyHeader::new().with_length(0xffff) => 0xffff_0000;
    }
    let reserved = ReservedMemory {
        subtype: 0xfe,
        start: 0x1112_1314_1516_1718,
        end: 0x2122_2324_2526_2728,
    };
    let words = [
        0x0014_0001,
        0xfe,
        0x1516_1718,
        0x1112_1314,
        0x2526_2728,
        0x2122_2324,
    ];
    assert_eq!(reserved.to_words(), words);
    assert_eq!(ReservedMemory::from_words(words), reserved);
    assert_eq!(ReservedMemory::LENGTH, 20);
}

#[test]
fn fault_reports_lie_where_the_manual_says() {
    fields! {
        FaultFlags::new().with_read(true) => 1;
        FaultFlags::new().with_write(true) => 2;
        FaultFlags::new().with_exec(true) => 4;
        FaultFlags::new().with_address(true) => 0x100;
    }
    let fault = Fault {
        reason: 0xfe,
        flags: FaultFlags::from_bits(0x0102_0304),
        endpoint: 0x0506_0708,
        address: 0x1112_1314_1516_1718,
    };
    let words = [0xfe, 0x0102_0304, 0x0506_0708, 0, 0x1516_1718, 0x1112_1314];
    assert_eq!(fault.to_words(), words);
    assert_eq!(Fault::from_words(words), fault);
    assert_eq!(fault::FAULT_BYTES, 24);
}

#[test]
fn block_devices_count_in_sectors_and_offer_flushes_by_bit_9() {
    assert_eq!(hw::virtio::block::DEVICE_TYPE, 2);
    assert_eq!(hw::virtio::block::SECTOR_BYTES, 512);
    assert_eq!(hw::virtio::block::FLUSH, 0x0000_0200);
}
