//! The educational device does what it is for.

use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::Protection;
use drivers::edu::{Edu, EduError, MAX_TRANSFER_BYTES};
use hosted::Hosted;
use machine::MachineConfig;
use rig::Rig;
use rig::disks::bytes_at;

fn start(rig: &mut Rig) -> Edu<Hosted> {
    let function = rig
        .computer
        .edus()
        .next()
        .expect("the machine has one")
        .clone();
    let device = rig
        .computer
        .system()
        .attach(&function, Protection::Strict)
        .expect("it attaches");
    Edu::start(device, &function, rig.computer.resources_mut()).expect("it starts")
}

fn end(edu: Edu<Hosted>, rig: Rig) {
    edu.stop().detach().expect("the device detaches");
    rig.finish();
}

#[test]
fn it_is_alive_and_computes() {
    let mut rig = Rig::boot(MachineConfig::default());
    let mut edu = start(&mut rig);
    assert_eq!(edu.version().0, 1);
    for value in [0, 1, 0x1234_5678, u32::MAX] {
        edu.check_liveness(value).expect("it inverts");
    }
    assert_eq!(edu.factorial(0), Ok(1));
    assert_eq!(edu.factorial(10), Ok(3_628_800));
    end(edu, rig);
}

#[test]
fn it_copies_memory_by_dma_through_its_28_address_lines() {
    let mut rig = Rig::boot(MachineConfig::default());
    let mut edu = start(&mut rig);
    assert_eq!(edu.device().mask().bits(), 28);
    let mut from = DmaBuffer::allocate(rig.kernel, 3 * 4096).expect("there is memory");
    bytes_at(0, from.as_mut_slice());
    let to = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");

    let from = edu.device().map_single(from, ToDevice).expect("it maps");
    let to = edu.device().map_single(to, FromDevice).expect("it maps");
    assert!(edu.device().mask().covers(from.range()));
    edu.fetch(&from, 5000, MAX_TRANSFER_BYTES)
        .expect("it is fetched");
    edu.store(&to, 0, MAX_TRANSFER_BYTES).expect("it is stored");
    let mut expected = vec![0; 4096];
    bytes_at(5000, &mut expected);
    assert!(to.unmap().expect("it unmaps").as_slice() == expected);
    from.unmap().expect("it unmaps");
    end(edu, rig);
}

#[test]
fn transfers_beyond_the_mapping_or_the_device_are_refused() {
    let mut rig = Rig::boot(MachineConfig::default());
    let mut edu = start(&mut rig);
    let memory = DmaBuffer::allocate(rig.kernel, 8192).expect("there is memory");
    let mapping = edu
        .device()
        .map_single(memory, Bidirectional)
        .expect("it maps");
    assert!(matches!(
        edu.fetch(&mapping, 8000, 193),
        Err(EduError::OutOfMapping { .. })
    ));
    assert!(matches!(
        edu.store(&mapping, u64::MAX, 2),
        Err(EduError::OutOfMapping { .. })
    ));
    assert_eq!(
        edu.store(&mapping, 0, 4097),
        Err(EduError::TooLong { len_bytes: 4097 })
    );
    assert_eq!(edu.store(&mapping, 0, 0), Ok(()));
    mapping.unmap().expect("it unmaps");
    end(edu, rig);
}
