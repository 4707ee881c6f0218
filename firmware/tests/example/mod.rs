// The tables of a small machine, for the examples and tests of this crate.

/// Table `signature` with `body` after its header.
pub fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(signature);
    bytes.extend_from_slice(&(36 + body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(b"DMAMAPEXAMPLE ");
    bytes.extend_from_slice(&[1, 0, 0, 0, b'D', b'M', b'A', b'P', 1, 0, 0, 0]);
    bytes.extend_from_slice(body);
    seal(&mut bytes, 9);
    bytes
}

/// Sets the byte at `at` so that all bytes add up to 0.
pub fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

/// A scope of `kind` with `enumeration_id`, and `path` from bus 0.
pub fn scope(kind: u8, enumeration_id: u8, path: &[(u8, u8)]) -> Vec<u8> {
    let mut bytes = vec![kind, 6 + 2 * path.len() as u8, 0, 0, enumeration_id, 0];
    bytes.extend(
        path.iter()
            .flat_map(|(device, function)| [*device, *function]),
    );
    bytes
}

/// A remapping structure of `kind`, with `fixed` between its length and `scopes`.
pub fn structure(kind: u16, fixed: &[u8], scopes: &[Vec<u8>]) -> Vec<u8> {
    let scopes = scopes.concat();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&(4 + fixed.len() as u16 + scopes.len() as u16).to_le_bytes());
    bytes.extend_from_slice(fixed);
    bytes.extend_from_slice(&scopes);
    bytes
}

/// A DRHD structure of segment 0.
pub fn unit(flags: u8, register_base: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    let mut fixed = vec![flags, 0, 0, 0];
    fixed.extend_from_slice(&register_base.to_le_bytes());
    structure(0, &fixed, scopes)
}

/// An RMRR structure of segment 0.
pub fn reserved_region(base: u64, last: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    let mut fixed = vec![0, 0, 0, 0];
    fixed.extend_from_slice(&base.to_le_bytes());
    fixed.extend_from_slice(&last.to_le_bytes());
    structure(1, &fixed, scopes)
}

/// A DMAR of `structures`, for 46 address bits and interrupt remapping.
pub fn dmar_of(structures: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![45, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&structures.concat());
    table(b"DMAR", &body)
}

/// A DMAR with a unit for 00:03.0, a unit for all else, and a reserved region for 00:05.0.
pub fn dmar() -> Vec<u8> {
    dmar_of(&[
        unit(0, 0xfed9_0000, &[scope(1, 0, &[(3, 0)])]),
        unit(1, 0xfed9_1000, &[]),
        reserved_region(0x7f00_0000, 0x7f00_0fff, &[scope(1, 0, &[(5, 0)])]),
    ])
}

/// One MCFG allocation.
pub fn allocation(bus0_phys: u64, segment: u16, first_bus: u8, last_bus: u8) -> Vec<u8> {
    let mut bytes = bus0_phys.to_le_bytes().to_vec();
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&[first_bus, last_bus, 0, 0, 0, 0]);
    bytes
}

/// An MCFG of `allocations`.
pub fn mcfg_of(allocations: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&allocations.concat());
    table(b"MCFG", &body)
}

/// An MCFG with all buses of segment 0.
pub fn mcfg() -> Vec<u8> {
    mcfg_of(&[allocation(0xe000_0000, 0, 0, 255)])
}

/// An RSDP of revision 2.
pub fn rsdp(rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0DMAMAP\x02".to_vec();
    bytes.extend_from_slice(&rsdt.to_le_bytes());
    seal(&mut bytes, 8);
    bytes.extend_from_slice(&36u32.to_le_bytes());
    bytes.extend_from_slice(&xsdt.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    seal(&mut bytes, 32);
    bytes
}

/// 4 KiB from physical address 0xe0000 on: RSDP, XSDT at 0x100, MCFG at 0x200, DMAR at 0x300.
pub fn image() -> Vec<u8> {
    let addresses = [0xe_0200u64, 0xe_0300].map(u64::to_le_bytes).concat();
    let mut image = vec![0; 4096];
    for (at, bytes) in [
        (0, rsdp(0, 0xe_0100)),
        (0x100, table(b"XSDT", &addresses)),
        (0x200, mcfg()),
        (0x300, dmar()),
    ] {
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    image
}
