use super::super::SmmuConfig;
use super::bench::*;
use crate::bus::Access;

#[test]
fn record_says_who_where_how_and_why() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE_RO);
    assert_eq!(bench.read(0x5678), Err(0x10));
    assert_eq!(bench.write(0x1234), Err(0x13));
    let stream = u64::from(DEVICE) << 32;
    // CLASS IN, and RnW.
    assert_eq!(
        bench.event(),
        Some([stream | 0x10, 2 << 40 | 1 << 35, 0x5678, 0])
    );
    assert_eq!(bench.event(), Some([stream | 0x13, 2 << 40, 0x1234, 0]));
    assert_eq!(bench.event(), None);
}

#[test]
fn stage_2_says_so_and_gives_the_address() {
    let (bench, _) = Bench::translating_stage2(second());
    assert_eq!(bench.write(0x5678), Err(0x10));
    let stream = u64::from(DEVICE) << 32;
    assert_eq!(
        bench.event(),
        Some([stream | 0x10, 2 << 40 | 1 << 39, 0x5678, 0x5000])
    );
}

#[test]
fn streams_outside_the_table_are_recorded_only_if_software_wants() {
    for (control, recorded) in [(2, true), (0, false)] {
        let bench = Bench::new(first());
        bench.connect();
        bench.control(0);
        bench.write32(CR2, control);
        bench.control(CMDQEN | EVENTQEN);
        bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
        bench.control(CMDQEN | EVENTQEN | SMMUEN);
        assert_eq!(bench.reach(0x100, 0, Access::Read), Err(0x02));
        let event = bench.event();
        assert_eq!(event.is_some(), recorded);
        assert!(event.is_none_or(|words| words[0] == 0x100_0000_0002));
    }
}

#[test]
fn faults_are_silent_where_the_configuration_says_so() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE_RO);
    // Without R.
    bench.store(context_of(DEVICE), context_word(DOMAIN) & !(1 << 45));
    bench.submit_and_wait(&[cfgi_cd(DEVICE.into())]);
    assert_eq!(bench.read(0x5000), Err(0x10));
    assert_eq!(bench.write(0x1000), Err(0x13));
    assert_eq!(bench.event(), None);
    assert_eq!(bench.unit.statistics().faults_silenced, 2);
}

#[test]
fn full_queue_overflows_until_it_is_acknowledged() {
    let (bench, _) = Bench::translating(first());
    for page in 0..7 {
        assert_eq!(bench.read(page << 12), Err(0x10));
    }
    // Four records, and the flag.
    assert_eq!(bench.read32(EVENTQ_PROD), 1 << 31 | 4);
    assert_eq!(bench.unit.statistics().faults_lost, 3);
    for page in 0..4 {
        assert_eq!(bench.event().expect("recorded")[2], page << 12);
    }
    assert_eq!(bench.event(), None);
    assert_eq!(bench.read32(EVENTQ_CONS) >> 31, 1, "acknowledged by then");
    assert_eq!(bench.read(0x9000), Err(0x10));
    assert_eq!(bench.event().expect("recorded")[2], 0x9000);
    // The next overflow toggles back.
    for page in 0..5 {
        assert_eq!(bench.read(page << 12), Err(0x10));
    }
    assert_eq!(bench.read32(EVENTQ_PROD) >> 31, 0);
}

#[test]
fn queue_that_is_off_records_nothing() {
    let (bench, _) = Bench::translating(first());
    bench.control(CMDQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Err(0x10));
    assert_eq!(bench.event(), None);
}

#[test]
fn queue_outside_memory_is_a_global_error() {
    let bench = Bench::new(first());
    bench.connect();
    bench.control(CMDQEN);
    bench.write64(EVENTQ_BASE, 0x100_0000 | 2);
    bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Err(0x04));
    assert_eq!(bench.read32(GERROR), 1 << 2);
}

#[test]
fn message_is_sent_only_for_a_queue_that_was_empty() {
    let bench = Bench::new(SmmuConfig::default());
    bench.write64(EVENTQ_IRQ_CFG0, 0xfee0_1000);
    bench.write32(EVENTQ_IRQ_CFG1, 0x31);
    bench.write32(IRQ_CTRL, 4);
    bench.wait_until(|| bench.read32(IRQ_CTRLACK) == 4);
    bench.enable();
    for _ in 0..3 {
        assert_eq!(bench.read(0x1000), Err(0x04));
    }
    assert_eq!(bench.messages(1), [(0xfee0_1000, 0x31)]);
    // Two of three are taken: not empty, no message.
    bench.event();
    bench.event();
    assert_eq!(bench.read(0x1000), Err(0x04));
    bench.event();
    bench.event();
    assert_eq!(bench.read(0x1000), Err(0x04));
    assert_eq!(bench.messages(2).len(), 2);
    bench.assert_no_findings();
}

#[test]
fn global_errors_send_their_message() {
    let bench = Bench::new(SmmuConfig::default());
    bench.write64(0x68, 0xfee0_2000);
    bench.write32(0x70, 0x32);
    bench.write32(IRQ_CTRL, 1);
    bench.wait_until(|| bench.read32(IRQ_CTRLACK) == 1);
    bench.connect();
    bench.submit(&[[0xff, 0]]);
    assert_eq!(bench.messages(1), [(0xfee0_2000, 0x32)]);
}
