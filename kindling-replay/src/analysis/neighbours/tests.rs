use super::*;
use crate::model::slice::Wait;

fn wait(cpu: Option<u16>, start: i64, end: i64) -> Slice {
    Slice {
        start,
        end,
        state: State::Runnable,
        cpu,
        wait: Wait::default(),
    }
}

fn charges(charger: &Charger) -> Vec<(Holder, i64)> {
    let charges = charger.charges.iter();
    charges
        .map(|((_, holder), charge)| (*holder, charge.ns))
        .collect()
}

#[test]
fn a_wait_is_divided_between_those_who_had_the_cpu() {
    let tenure = |start, end, holder| Tenure {
        cpu: 1,
        start,
        end,
        holder,
    };
    let mut charger = Charger::default();
    charger.tenures(vec![
        tenure(0, 20, Holder::Thread(7)),
        tenure(20, 30, Holder::Idle),
        tenure(30, 50, Holder::Thread(8)),
    ]);
    charger.wait(0, &wait(Some(1), 10, 45));
    let expect = [
        (Holder::Thread(7), 10),
        (Holder::Thread(8), 15),
        (Holder::Idle, 10),
    ];
    assert_eq!(charges(&charger), expect);
    charger.wait(0, &wait(Some(1), 45, 60));
    assert_eq!(charges(&charger).last(), Some(&(Holder::Unknown, 10)));
    charger.wait(0, &wait(None, 0, 5));
    charger.wait(0, &wait(Some(9), 0, 5));
    assert_eq!(charges(&charger).last(), Some(&(Holder::Unknown, 20)));
}

/// Whoever had the CPUs, the charges add up to the waits.
#[test]
fn charges_add_up() {
    let mut seed = 11u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..1_000 {
        let mut charger = Charger::default();
        for cpu in 0..2 {
            let mut at = random(30) as i64;
            for _ in 0..random(20) {
                let start = at + (random(4) / 3 * random(10)) as i64;
                at = start + 1 + random(30) as i64;
                let holder = match random(6) {
                    0 => Holder::Idle,
                    1 => Holder::Unknown,
                    tid => Holder::Thread(tid as u32),
                };
                charger.tenures(vec![Tenure {
                    cpu,
                    start,
                    end: at,
                    holder,
                }]);
            }
        }
        let mut waited = 0;
        for lane in 0..random(10) as usize {
            let start = random(400) as i64;
            let cpu = (random(5) > 0).then(|| random(3) as u16);
            let slice = wait(cpu, start, start + random(100) as i64);
            waited += slice.length_ns();
            charger.wait(lane, &slice);
        }
        let charged: i64 = charges(&charger).iter().map(|(_, ns)| ns).sum();
        assert_eq!(charged, waited, "round {round}");
    }
}
