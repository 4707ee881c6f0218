//! Which bus addresses are given first.

use dmamap::addr::DmaMask;
use dmamap::system::{AddressOrder, Settings};
use journeys::boot::BootOptions;
use machine::temper::Temper;

use super::kinds::kinds;
use super::{lend, lend_pages};
use rig::EDU;

#[test]
fn addresses_of_32_bits_come_first_unless_the_settings_say_otherwise() {
    for kind in kinds() {
        for (order, low) in [
            (AddressOrder::LowFirst, true),
            (AddressOrder::HighFirst, false),
        ] {
            let mut kind = kind.clone();
            let units = Settings {
                address_order: order,
                ..kind.options.units
            };
            kind.options = BootOptions {
                units,
                ..kind.options
            };
            let rig = kind.boot(Temper::Keep, 64, 10);
            let device = rig.attach(EDU);
            let fits = |one: &super::Lent| one.range().last().as_u64() < 1 << 32;
            assert!(fits(&lend(&device, 1)), "a mask of 32 bits is kept");
            device.set_mask(DmaMask::from_bits(64).unwrap()).unwrap();
            // Memory as long as a large page goes another way.
            let several = [1, 1, 40, 600].map(|pages| lend_pages(&device, pages, 1));
            for one in &several {
                assert_eq!(fits(one), low, "{}: {one:?}", kind.name);
            }
            device.set_mask(DmaMask::from_bits(32).unwrap()).unwrap();
            assert!(fits(&lend(&device, 1)));
            drop(several);
            device.detach().unwrap();
            rig.finish();
        }
    }
}
