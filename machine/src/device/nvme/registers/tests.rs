use super::*;

const ENABLE: u64 = Configuration::new().with_en(true).into_bits() as u64;

fn configured() -> Registers {
    let mut registers = Registers::new(1024, 0);
    registers
        .write(regs::AQA, Width::Dword, 0x001f_000f)
        .unwrap();
    registers
        .write(regs::ASQ, Width::Qword, 0x1_2345_6000)
        .unwrap();
    registers
        .write(regs::ACQ, Width::Dword, 0x6789_afff)
        .unwrap();
    registers.write(regs::ACQ + 4, Width::Dword, 2).unwrap();
    registers
}

#[test]
fn wide_registers_can_be_accessed_whole_and_in_halves() {
    let registers = configured();
    assert_eq!(registers.read(regs::ASQ + 4, Width::Dword), Ok(1));
    assert_eq!(registers.read(regs::ACQ, Width::Qword), Ok(0x2_6789_a000));
    let cap = registers.read(regs::CAP, Width::Qword).unwrap();
    assert_eq!(registers.read(regs::CAP + 4, Width::Dword), Ok(cap >> 32));
    assert_eq!(Capabilities::from_bits(cap).queue_entries_max(), 1024);
    assert_eq!(registers.read(regs::VS, Width::Dword), Ok(0x0001_0200));
}

#[test]
fn narrow_and_misaligned_accesses_are_refused() {
    let mut registers = configured();
    for (offset, width) in [
        (regs::CC, Width::Byte),
        (regs::CC, Width::Word),
        (regs::CC, Width::Qword),
        (regs::CC + 2, Width::Dword),
    ] {
        let misuse = RegisterMisuse::Access { offset, width };
        assert_eq!(registers.read(offset, width), Err(misuse));
        assert_eq!(registers.write(offset, width, 0), Err(misuse));
    }
}

#[test]
fn enable_reads_the_admin_queues_and_then_tells_ready() {
    let mut registers = configured();
    assert_eq!(registers.duty(), Duty::Idle);
    registers.write(regs::CC, Width::Dword, ENABLE).unwrap();
    assert_eq!(registers.duty(), Duty::Enable);
    assert_eq!(registers.read(regs::CSTS, Width::Dword), Ok(0));
    assert_eq!(
        registers.enable(),
        Ok(AdminQueues {
            submission_base: 0x1_2345_6000,
            submission_entries: 16,
            completion_base: 0x2_6789_a000,
            completion_entries: 32,
        })
    );
    assert_eq!(registers.read(regs::CSTS, Width::Dword), Ok(1));
    assert_eq!(registers.duty(), Duty::Commands);
    let in_use = RegisterMisuse::AdminQueueInUse { offset: regs::ASQ };
    assert_eq!(registers.write(regs::ASQ, Width::Dword, 0), Err(in_use));
}

#[test]
fn a_configuration_that_cannot_work_is_fatal_until_reset() {
    let mut registers = configured();
    registers
        .write(regs::AQA, Width::Dword, 0x001f_0000)
        .unwrap();
    registers.write(regs::CC, Width::Dword, ENABLE).unwrap();
    assert_eq!(
        registers.enable(),
        Err(EnableError::AdminQueueSize(0x001f_0000))
    );
    assert_eq!(registers.read(regs::CSTS, Width::Dword), Ok(2));
    assert_eq!(registers.duty(), Duty::Idle);
    registers.write(regs::CC, Width::Dword, 0).unwrap();
    assert_eq!(registers.duty(), Duty::Reset);
    registers.reset_done();
    assert_eq!(registers.read(regs::CSTS, Width::Dword), Ok(0));
    registers
        .write(regs::CC, Width::Dword, ENABLE | 9 << 7)
        .unwrap();
    assert!(matches!(
        registers.enable(),
        Err(EnableError::Configuration(_))
    ));
}

#[test]
fn ready_falls_only_when_the_reset_is_done() {
    let mut registers = configured();
    registers.write(regs::CC, Width::Dword, ENABLE).unwrap();
    registers.enable().unwrap();
    registers.write(regs::CC, Width::Dword, 0).unwrap();
    assert_eq!(registers.read(regs::CSTS, Width::Dword), Ok(1));
    assert_eq!(
        registers.write(regs::CC, Width::Dword, ENABLE),
        Err(RegisterMisuse::EnabledDuringReset)
    );
    assert_eq!(registers.duty(), Duty::Reset);
    registers.reset_done();
    assert_eq!(registers.duty(), Duty::Enable);
}

#[test]
fn shutdown_is_told_while_it_happens_and_when_it_is_done() {
    let mut registers = configured();
    registers.write(regs::CC, Width::Dword, ENABLE).unwrap();
    registers.enable().unwrap();
    let normal = Configuration::new()
        .with_en(true)
        .with_shn(ShutdownNotification::Normal);
    registers
        .write(regs::CC, Width::Dword, normal.into_bits().into())
        .unwrap();
    let shst = |registers: &Registers| {
        let csts = registers.read(regs::CSTS, Width::Dword).unwrap();
        ControllerStatus::from_bits(csts as u32).shst()
    };
    assert_eq!(shst(&registers), ShutdownStatus::Occurring);
    assert_eq!(
        registers.duty(),
        Duty::Shutdown(ShutdownNotification::Normal)
    );
    registers.shutdown_done();
    assert_eq!(shst(&registers), ShutdownStatus::Complete);
    assert_eq!(registers.duty(), Duty::Idle);
}

#[test]
fn the_interrupt_mask_is_set_and_cleared_by_bits() {
    let mut registers = configured();
    registers.write(regs::INTMS, Width::Dword, 0xff).unwrap();
    registers.write(regs::INTMC, Width::Dword, 0x0f).unwrap();
    assert_eq!(registers.read(regs::INTMS, Width::Dword), Ok(0xf0));
    assert_eq!(registers.read(regs::INTMC, Width::Dword), Ok(0xf0));
}

#[test]
fn page_size_and_command_set_are_fixed_while_enabled() {
    let mut registers = configured();
    registers.write(regs::CC, Width::Dword, ENABLE).unwrap();
    registers.enable().unwrap();
    let error = registers.write(regs::CC, Width::Dword, ENABLE | 1 << 7);
    assert!(matches!(
        error,
        Err(RegisterMisuse::ConfigurationInUse { .. })
    ));
    assert_eq!(registers.page_bytes(), 4096);
}
