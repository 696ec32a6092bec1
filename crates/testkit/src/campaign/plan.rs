//! Who falls when: a pure function of the seed.

use std::fmt;
use std::time::Duration;

use crate::dice::Dice;

/// The longest pause before a blow, and the longest time that a service stays down, in milliseconds.
const PAUSE_MAX: u64 = 1_000;
const DOWN_MAX: u64 = 1_200;
/// Services that are asked to end rather than killed, of 1000.
const POLITE: u32 = 120;

/// How a service is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// SIGKILL.
    Kill,
    /// SIGTERM: it must end by itself, with 0.
    Ask,
}

/// One service brought down and started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// After the one before.
    pub pause: Duration,
    /// Which service.
    pub target: String,
    /// How.
    pub how: How,
    /// How long it stays down.
    pub down: Duration,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Kill => "kill -9",
            How::Ask => "SIGTERM",
        };
        let (pause, down) = (self.pause.as_millis(), self.down.as_millis());
        write!(f, "after {pause:>4} ms {how} {}, down for {down} ms", self.target)
    }
}

/// That many blows at services of these names. Workers and the scheduler, which have most to remember, are hit most.
pub fn plan(seed: u64, kills: usize, names: &[String]) -> Vec<Blow> {
    let mut dice = Dice::new(seed, "plan");
    let weighted: Vec<(u32, &String)> = names.iter().map(|name| (weight(name), name)).collect();
    let mut kill_count = 0;
    let mut blows = Vec::new();
    while kill_count < kills {
        let Some(target) = dice.choose(&weighted) else { break };
        let how = if dice.is_one_of(POLITE) { How::Ask } else { How::Kill };
        kill_count += usize::from(how == How::Kill);
        blows.push(Blow {
            pause: Duration::from_millis(dice.below(PAUSE_MAX)),
            target: (*target).clone(),
            how,
            down: Duration::from_millis(dice.below(DOWN_MAX)),
        });
    }
    blows
}

fn weight(name: &str) -> u32 {
    match name {
        "scheduler" => 5,
        "chain" => 3,
        _ if name.starts_with("worker") => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed() {
        let names = ["chain", "scheduler", "worker-0", "vault"].map(str::to_owned);
        let blows = plan(11, 200, &names);
        assert_eq!(blows, plan(11, 200, &names));
        assert_ne!(blows, plan(12, 200, &names));
        assert_eq!(blows.iter().filter(|blow| blow.how == How::Kill).count(), 200);
        for name in &names {
            assert!(blows.iter().any(|blow| blow.target == *name), "{name} is never hit");
        }
        assert_eq!(plan(11, 5, &[]), Vec::new());
    }
}
