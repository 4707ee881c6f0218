use hw::iommu_testdev::{self as testdev, Attributes, Doorbell, Outcome};

use crate::fields;

#[test]
fn registers_lie_where_the_specification_says() {
    assert_eq!(
        [
            testdev::TRIGGER,
            testdev::BUS_LOW,
            testdev::BUS_HIGH,
            testdev::LENGTH,
            testdev::RESULT,
            testdev::DOORBELL,
            testdev::ATTRIBUTES,
            testdev::PHYS_LOW,
            testdev::PHYS_HIGH,
        ],
        [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20]
    );
    assert_eq!((testdev::VENDOR_ID, testdev::DEVICE_ID), (0x1b36, 5));
    assert_eq!((testdev::BAR_BYTES, testdev::PATTERN), (4096, 0x12345678));
}

#[test]
fn fields_lie_where_the_specification_says() {
    fields! {
        Doorbell::new().with_arm(true) => 0x1;
        Attributes::new().with_secure(true) => 0x1;
        Attributes::new().with_space(3) => 0x6;
        Attributes::new().with_space_valid(true) => 0x8;
    }
}

#[test]
fn results_have_the_specifications_codes() {
    for (outcome, code) in [
        (Outcome::Passed, 0x00000000),
        (Outcome::Idle, 0xffffffff),
        (Outcome::Armed, 0xfffffffe),
        (Outcome::BadLength, 0xdead0001),
        (Outcome::WriteFailed, 0xdead0002),
        (Outcome::ReadFailed, 0xdead0003),
        (Outcome::Mismatch, 0xdead0004),
        (Outcome::NotArmed, 0xdead0005),
        (Outcome::BadAttributes, 0xdead0006),
    ] {
        assert_eq!(
            (outcome.code(), Outcome::from_code(code)),
            (code, Some(outcome))
        );
    }
    assert_eq!(Outcome::from_code(0xdead0000), None);
}
