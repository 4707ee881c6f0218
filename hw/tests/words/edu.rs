use hw::edu::{self, DmaCommand, Identification, Status};

use crate::fields;

#[test]
fn registers_lie_where_the_specification_says() {
    assert_eq!(
        [
            edu::ID,
            edu::LIVENESS,
            edu::FACTORIAL,
            edu::STATUS,
            edu::INTERRUPT_STATUS,
            edu::INTERRUPT_RAISE,
            edu::INTERRUPT_ACKNOWLEDGE,
            edu::DMA_SOURCE,
            edu::DMA_DESTINATION,
            edu::DMA_COUNT,
            edu::DMA_COMMAND,
        ],
        [
            0x00, 0x04, 0x08, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98
        ]
    );
    assert_eq!((edu::BUFFER, edu::BUFFER_BYTES), (0x40000, 4096));
    assert_eq!((edu::VENDOR_ID, edu::DEVICE_ID), (0x1234, 0x11e8));
    assert_eq!(edu::INTERRUPT_DMA, 0x100);
}

#[test]
fn fields_lie_where_the_specification_says() {
    fields! {
        Identification::new() => 0x0100_00ed;
        Status::new().with_computing(true) => 0x01;
        Status::new().with_interrupt_enable(true) => 0x80;
        DmaCommand::new().with_run(true) => 0x01;
        DmaCommand::new().with_to_memory(true) => 0x02;
        DmaCommand::new().with_interrupt(true) => 0x04;
    }
}
